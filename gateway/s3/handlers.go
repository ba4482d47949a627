package s3

import "maps"

// handlers returns the handler of each operation that is built, by name.
func handlers() map[string]handler {
	all := bucketHandlers()
	maps.Copy(all, objectHandlers())
	return all
}

// bucketHandlers are those of buckets, of listings, and of DeleteObjects.
func bucketHandlers() map[string]handler {
	return map[string]handler{
		"ListBuckets":         listBuckets,
		"CreateBucket":        createBucket,
		"HeadBucket":          headBucket,
		"DeleteBucket":        deleteBucket,
		"GetBucketLocation":   getBucketLocation,
		"PutBucketVersioning": putBucketVersioning,
		"GetBucketVersioning": getBucketVersioning,
		"ListObjects":         listObjects,
		"ListObjectsV2":       listObjectsV2,
		"ListObjectVersions":  listObjectVersions,
		"DeleteObjects":       deleteObjects,
	}
}
