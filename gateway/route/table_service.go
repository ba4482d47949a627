package route

import "holdfast/gateway"

// serviceOperations are the operations of the service level.
func serviceOperations() []Operation {
	return []Operation{
		{Name: "ListBuckets", Method: "GET", Level: Service,
			Query: []string{"bucket-region", "continuation-token", "max-buckets", "prefix"}, Built: true, Action: "s3:ListAllMyBuckets"},
		{Name: "ListDirectoryBuckets", Method: "GET", Level: Service, ByID: true, Query: []string{"continuation-token", "max-directory-buckets"},
			Action: "s3:ListAllMyDirectoryBuckets"},
		{Name: "WriteGetObjectResponse", Method: "POST", Level: Service, Path: "WriteGetObjectResponse",
			Headers: []string{"X-Amz-Request-Route", "X-Amz-Request-Token", "X-Amz-Fwd-Status"}, Meta: true,
			Action: "s3:WriteGetObjectResponse", Body: Stream, BodyLimit: gateway.MaxPut},
	}
}
