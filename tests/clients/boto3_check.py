"""boto3 at its default settings against a running server; exits 1 with a traceback at the first difference.

Arguments: the endpoint, a file, and that file's checksums by algorithm as JSON.
"""
import base64, hashlib, io, json, os, sys, urllib.error, urllib.request, uuid

import boto3
import botocore
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError, FlexibleChecksumError, MissingDependencyException

endpoint, file, values = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
verify = os.environ.get("AWS_CA_BUNDLE") or None
s3 = boto3.client("s3", endpoint_url=endpoint, verify=verify)
bucket = "b-" + uuid.uuid4().hex[:12]
modern = tuple(int(x) for x in botocore.__version__.split(".")[:2]) >= (1, 36)


def code(f, **kw):
    try:
        f(**kw)
    except ClientError as e:
        return e.response["Error"]["Code"]
    return None


def check(what, got, want):
    if got != want:
        raise AssertionError(f"{what}: got {got!r}, want {want!r}")


# a call that was sent twice hides that the first answer was not understood
s3.meta.events.register("after-call.s3", lambda parsed, model, **_: check(model.name + " sent again", parsed["ResponseMetadata"].get("RetryAttempts"), 0))
s3.create_bucket(Bucket=bucket)
check("buckets", bucket in [b["Name"] for b in s3.list_buckets()["Buckets"]], True)
s3.get_bucket_location(Bucket=bucket)
s3.head_bucket(Bucket=bucket)

for size in (0, 1, 4096, 8192, 8193, 65536, 1 << 20, 3 * (1 << 20) + 7):
    body = os.urandom(size)
    etag = s3.put_object(Bucket=bucket, Key=f"size/{size}", Body=body, ContentType="text/x", Metadata={"a": "b c"}, CacheControl="no-cache")["ETag"]
    check("etag", etag, '"' + hashlib.md5(body).hexdigest() + '"')
    got = s3.get_object(Bucket=bucket, Key=f"size/{size}")
    check("body", got["Body"].read(), body)
    check("type", (got["ContentType"], got["Metadata"], got["CacheControl"]), ("text/x", {"a": "b c"}, "no-cache"))
    if size > 10:
        part = s3.get_object(Bucket=bucket, Key=f"size/{size}", Range="bytes=3-9")
        check("range", (part["Body"].read(), part["ContentRange"]), (body[3:10], f"bytes 3-9/{size}"))
check("range over the end", code(s3.get_object, Bucket=bucket, Key="size/1", Range="bytes=5-9"), "InvalidRange")

# an empty body, after which the connection is used again, by boto3's wish to be told to continue
for body in (b"", b"x", b"", io.BytesIO(b""), b"xy"):
    s3.put_object(Bucket=bucket, Key="size/empty", Body=body)
check("after empty", s3.get_object(Bucket=bucket, Key="size/empty")["Body"].read(), b"xy")

# every algorithm that this version knows: computed by it where it can, else given as a value
body = open(file, "rb").read()
algorithms = s3.meta.service_model.shape_for("ChecksumAlgorithm").enum
check("algorithms known", set(algorithms) >= {"CRC32", "CRC32C", "SHA1", "SHA256"} and (not modern or set(algorithms) >= {"CRC64NVME"}), True)
for alg in algorithms:
    try:
        put = s3.put_object(Bucket=bucket, Key="sum/" + alg, Body=io.BytesIO(body), ChecksumAlgorithm=alg)
    except (FlexibleChecksumError, MissingDependencyException):
        put = s3.put_object(Bucket=bucket, Key="sum/" + alg, Body=io.BytesIO(body), **{"Checksum" + alg: values[alg]})
    got = s3.get_object(Bucket=bucket, Key="sum/" + alg, ChecksumMode="ENABLED")
    check(alg, (put["Checksum" + alg], got["Checksum" + alg], got["Body"].read() == body), (values[alg], values[alg], True))
want = base64.b64encode(hashlib.sha256(body).digest()).decode()
s3.put_object(Bucket=bucket, Key="sum/value", Body=body, ChecksumSHA256=want)
check("attributes", s3.get_object_attributes(Bucket=bucket, Key="sum/value", ObjectAttributes=["ETag", "Checksum", "ObjectSize", "StorageClass"])["ObjectSize"], len(body))
bad = base64.b64encode(hashlib.sha256(b"other").digest()).decode()
once = boto3.client("s3", endpoint_url=endpoint, verify=verify, config=Config(retries={"max_attempts": 0}))  # else a BadDigest is sent five times, seconds apart
check("bad checksum", code(once.put_object, Bucket=bucket, Key="sum/bad", Body=body, ChecksumSHA256=bad), "BadDigest")
check("bad checksum leaves nothing", code(s3.head_object, Bucket=bucket, Key="sum/bad"), "404")
md5 = base64.b64encode(hashlib.md5(body).digest()).decode()
s3.put_object(Bucket=bucket, Key="sum/md5", Body=body, ContentMD5=md5)

# all payload modes
modes = {"signed": {"s3": {"payload_signing_enabled": True}}, "unsigned": {"s3": {"payload_signing_enabled": False}}, "vhostless": {"s3": {"addressing_style": "path"}}}
if modern:
    modes["no checksum"] = {"request_checksum_calculation": "when_required"}
for name, config in modes.items():
    c = boto3.client("s3", endpoint_url=endpoint, verify=verify, config=Config(**config))
    c.put_object(Bucket=bucket, Key="mode/" + name, Body=body)
    check(name, c.get_object(Bucket=bucket, Key="mode/" + name)["Body"].read(), body)

# multipart by the transfer manager, and by hand
big = os.urandom(21 << 20)
s3.upload_fileobj(io.BytesIO(big), bucket, "big", Config=TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20))
back = io.BytesIO()
s3.download_fileobj(bucket, "big", back)
check("multipart", back.getvalue() == big, True)
check("parts", s3.head_object(Bucket=bucket, Key="big", PartNumber=1)["PartsCount"], 5)
up = s3.create_multipart_upload(Bucket=bucket, Key="hand")["UploadId"]
parts = [{"PartNumber": n, "ETag": s3.upload_part(Bucket=bucket, Key="hand", UploadId=up, PartNumber=n, Body=big[(n - 1) * (5 << 20): n * (5 << 20)])["ETag"]} for n in (1, 2)]
copied = s3.upload_part_copy(Bucket=bucket, Key="hand", UploadId=up, PartNumber=3, CopySource={"Bucket": bucket, "Key": "big"}, CopySourceRange="bytes=10-2000")
parts.append({"PartNumber": 3, "ETag": copied["CopyPartResult"]["ETag"]})
check("list parts", [p["PartNumber"] for p in s3.list_parts(Bucket=bucket, Key="hand", UploadId=up)["Parts"]], [1, 2, 3])
check("uploads", [u["UploadId"] for u in s3.list_multipart_uploads(Bucket=bucket)["Uploads"]], [up])
first = s3.complete_multipart_upload(Bucket=bucket, Key="hand", UploadId=up, MultipartUpload={"Parts": parts})
again = s3.complete_multipart_upload(Bucket=bucket, Key="hand", UploadId=up, MultipartUpload={"Parts": parts})
check("complete twice", again["ETag"], first["ETag"])
check("complete", s3.get_object(Bucket=bucket, Key="hand")["Body"].read() == big[: 10 << 20] + big[10:2001], True)
up = s3.create_multipart_upload(Bucket=bucket, Key="gone")["UploadId"]
s3.upload_part(Bucket=bucket, Key="gone", UploadId=up, PartNumber=1, Body=b"x")
s3.abort_multipart_upload(Bucket=bucket, Key="gone", UploadId=up)
check("aborted", code(s3.list_parts, Bucket=bucket, Key="gone", UploadId=up), "NoSuchUpload")

# copies, conditions, listings, deletes
s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "size/4096"}, MetadataDirective="REPLACE", Metadata={"x": "y"})
check("copy", s3.head_object(Bucket=bucket, Key="copy")["Metadata"], {"x": "y"})
check("if-none-match", code(s3.get_object, Bucket=bucket, Key="copy", IfNoneMatch=s3.head_object(Bucket=bucket, Key="copy")["ETag"]), "304")
check("if-match", code(s3.get_object, Bucket=bucket, Key="copy", IfMatch='"0"'), "PreconditionFailed")
if modern:
    check("write once", code(s3.put_object, Bucket=bucket, Key="copy", Body=b"", IfNoneMatch="*"), "PreconditionFailed")
tags = [{"Key": "a b", "Value": "1+2"}, {"Key": "ü", "Value": ""}]
s3.put_object(Bucket=bucket, Key="tagged", Body=b"x", Tagging="a+b=1%2B2&%C3%BC")
check("tags", s3.get_object_tagging(Bucket=bucket, Key="tagged")["TagSet"], tags)
check("tag count", s3.get_object(Bucket=bucket, Key="tagged")["TagCount"], 2)
s3.copy_object(Bucket=bucket, Key="tagged copy", CopySource={"Bucket": bucket, "Key": "tagged"})
check("copied tags", s3.get_object_tagging(Bucket=bucket, Key="tagged copy")["TagSet"], tags)
s3.put_object_tagging(Bucket=bucket, Key="tagged", Tagging={"TagSet": tags[1:]})
check("other tags", s3.get_object_tagging(Bucket=bucket, Key="tagged")["TagSet"], tags[1:])
s3.delete_object_tagging(Bucket=bucket, Key="tagged")
check("no tags", s3.get_object_tagging(Bucket=bucket, Key="tagged")["TagSet"], [])
check("bad tag", code(s3.put_object_tagging, Bucket=bucket, Key="tagged", Tagging={"TagSet": [{"Key": "a?", "Value": ""}]}), "InvalidTag")
odd = ["a//b", "a/../b", "über/ключ", "plus+and space", "per%2fcent", "back\\slash", "tab\tnew\nline", "a/", "a", "emoji-\U0001f600"]
for k in odd:
    s3.put_object(Bucket=bucket, Key="odd/" + k, Body=k.encode())
for k in odd:
    check(repr(k), s3.get_object(Bucket=bucket, Key="odd/" + k)["Body"].read(), k.encode())
listed = [o["Key"] for p in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="odd/", PaginationConfig={"PageSize": 3}) for o in p.get("Contents", [])]
check("odd keys", listed, sorted(("odd/" + k for k in odd), key=lambda k: k.encode()))
v1 = [o["Key"] for p in s3.get_paginator("list_objects").paginate(Bucket=bucket, Prefix="odd/", PaginationConfig={"PageSize": 4}) for o in p.get("Contents", [])]
check("odd keys by version 1", v1, listed)
check("delimiter", [p["Prefix"] for p in s3.list_objects_v2(Bucket=bucket, Delimiter="/")["CommonPrefixes"]], ["mode/", "odd/", "size/", "sum/"])
check("missing key", code(s3.get_object, Bucket=bucket, Key="nothing"), "NoSuchKey")
check("missing bucket", code(s3.list_objects_v2, Bucket=bucket + "x"), "NoSuchBucket")

# presigned; at the defaults of us-east-1 these are URLs of signature version 2
url = s3.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "signed/put", "ContentType": "text/x", "Metadata": {"a": "b c"}}, ExpiresIn=60)
ctx = None
if verify:
    import ssl
    ctx = ssl.create_default_context(cafile=verify)
urllib.request.urlopen(urllib.request.Request(url, data=b"hello", method="PUT", headers={"Content-Type": "text/x"}), context=ctx)
head = s3.head_object(Bucket=bucket, Key="signed/put")
check("presigned headers", (head["ContentType"], head["Metadata"], "Expires" in head), ("text/x", {"a": "b c"}, False))
url = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "signed/put", "ResponseContentType": "text/q"}, ExpiresIn=60)
resp = urllib.request.urlopen(url, context=ctx)
check("presigned", (resp.read(), resp.headers["Content-Type"]), (b"hello", "text/q"))
for forged in (url.replace("text%2Fq", "text%2Fx"), url.replace("signed/put", "signed/other"), url + "&versionId=1"):
    try:
        urllib.request.urlopen(forged, context=ctx)
        raise AssertionError("a forged URL was accepted")
    except urllib.error.HTTPError as e:
        check("forged", e.code, 403)
for version in ("s3", "s3v4"):
    c = boto3.client("s3", endpoint_url=endpoint, verify=verify, config=Config(signature_version=version))
    url = c.generate_presigned_url("list_objects_v2", Params={"Bucket": bucket, "Prefix": "signed/"}, ExpiresIn=60)
    if version == "s3v4" or modern:  # 1.26 signs list-type as a part of the path
        check("presigned list", b"<Key>signed/put</Key>" in urllib.request.urlopen(url, context=ctx).read(), True)
    url = c.generate_presigned_url("delete_object", Params={"Bucket": bucket, "Key": "signed/put"}, ExpiresIn=60)
    urllib.request.urlopen(urllib.request.Request(url, method="DELETE"), context=ctx)
    s3.put_object(Bucket=bucket, Key="signed/put", Body=b"hello")

check("not empty", code(s3.delete_bucket, Bucket=bucket), "BucketNotEmpty")
keys = [{"Key": o["Key"]} for p in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket) for o in p["Contents"]]
check("deleted", len(s3.delete_objects(Bucket=bucket, Delete={"Objects": keys})["Deleted"]), len(keys))
s3.delete_bucket(Bucket=bucket)
print(json.dumps({"boto3": boto3.__version__, "ok": True}))
