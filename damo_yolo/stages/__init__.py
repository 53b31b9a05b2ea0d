"""One public function per step: config and locations in, result out."""
