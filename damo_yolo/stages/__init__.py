"""One public function per pipeline step: locations in, result out."""
