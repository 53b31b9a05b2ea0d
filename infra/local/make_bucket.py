"""Make a bucket at the store of the AWS variables, unless it is there: make_bucket.py NAME."""

import sys
import time

import boto3
from botocore.exceptions import BotoCoreError, ClientError

ATTEMPTS = 30
THERE = ("BucketAlreadyOwnedByYou", "BucketAlreadyExists")


def make_bucket(name: str) -> None:
    """Make the bucket; a store that has just started refuses for some seconds."""
    client = boto3.client("s3")
    for attempt in range(1, ATTEMPTS + 1):
        try:
            client.create_bucket(Bucket=name)
        except (ClientError, BotoCoreError) as error:
            if isinstance(error, ClientError) and error.response["Error"]["Code"] in THERE:
                return
            if attempt == ATTEMPTS:
                sys.exit(f"error: cannot make the bucket {name}: {error}")
            time.sleep(1)
        else:
            return


if __name__ == "__main__":
    make_bucket(sys.argv[1])
