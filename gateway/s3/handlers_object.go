package s3

// objectHandlers are the operations on objects and uploads, by their names in
// the route table.
func objectHandlers() map[string]handler {
	return map[string]handler{
		"PutObject":               putObject,
		"PostObject":              postObject,
		"GetObject":               getObject,
		"HeadObject":              headObject,
		"DeleteObject":            deleteObject,
		"CopyObject":              copyObject,
		"GetObjectAttributes":     getObjectAttributes,
		"GetObjectTagging":        getObjectTagging,
		"PutObjectTagging":        putObjectTagging,
		"DeleteObjectTagging":     deleteObjectTagging,
		"CreateMultipartUpload":   createMultipartUpload,
		"UploadPart":              uploadPart,
		"UploadPartCopy":          uploadPartCopy,
		"CompleteMultipartUpload": completeMultipartUpload,
		"AbortMultipartUpload":    abortMultipartUpload,
		"ListParts":               listParts,
		"ListMultipartUploads":    listMultipartUploads,
	}
}
