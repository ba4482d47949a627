package route

// Headers and parameters that stand in the model together.
var (
	sseCustomer = []string{"X-Amz-Server-Side-Encryption-Customer-Algorithm", "X-Amz-Server-Side-Encryption-Customer-Key", "X-Amz-Server-Side-Encryption-Customer-Key-Md5"}
	sseSource   = []string{"X-Amz-Copy-Source-Server-Side-Encryption-Customer-Algorithm", "X-Amz-Copy-Source-Server-Side-Encryption-Customer-Key", "X-Amz-Copy-Source-Server-Side-Encryption-Customer-Key-Md5"}
	sseManaged  = []string{"X-Amz-Server-Side-Encryption-Bucket-Key-Enabled", "X-Amz-Server-Side-Encryption", "X-Amz-Server-Side-Encryption-Context", "X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id"}
	grants      = []string{"X-Amz-Acl", "X-Amz-Grant-Full-Control", "X-Amz-Grant-Read", "X-Amz-Grant-Read-Acp", "X-Amz-Grant-Write-Acp"}
	objectLock  = []string{"X-Amz-Object-Lock-Event-Hold", "X-Amz-Object-Lock-Event-Hold-Duration-Days", "X-Amz-Object-Lock-Event-Hold-Duration-Years", "X-Amz-Object-Lock-Legal-Hold", "X-Amz-Object-Lock-Mode", "X-Amz-Object-Lock-Retain-Until-Date"}
	content     = []string{"Cache-Control", "Content-Disposition", "Content-Encoding", "Content-Language", "Content-Type", "Expires"}
	checksums   = []string{"X-Amz-Checksum-Crc32", "X-Amz-Checksum-Crc32c", "X-Amz-Checksum-Crc64nvme", "X-Amz-Checksum-Md5", "X-Amz-Checksum-Sha1", "X-Amz-Checksum-Sha256", "X-Amz-Checksum-Sha512", "X-Amz-Checksum-Xxhash128", "X-Amz-Checksum-Xxhash3", "X-Amz-Checksum-Xxhash64"}
	reads       = []string{"If-Match", "If-Modified-Since", "If-None-Match", "If-Unmodified-Since"}
	sourceReads = []string{"X-Amz-Copy-Source", "X-Amz-Copy-Source-If-Match", "X-Amz-Copy-Source-If-Modified-Since", "X-Amz-Copy-Source-If-None-Match", "X-Amz-Copy-Source-If-Unmodified-Since", "X-Amz-Source-Expected-Bucket-Owner"}
	responses   = []string{"response-cache-control", "response-content-disposition", "response-content-encoding", "response-content-language", "response-content-type", "response-expires"}
)
