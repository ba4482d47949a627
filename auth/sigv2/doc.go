// Package sigv2 verifies presigned URLs of AWS signature version 2, which
// widespread clients still make by default where the region is us-east-1 and
// the endpoint is their own. It verifies only, and the query form only: there
// is no way to sign, and the Authorization header of this version is not known
// here.
//
// It is pure: no listener, no disk, no goroutine, no log. The rules are those
// of the Amazon S3 User Guide, "Signing and authenticating REST requests"
// (RESTAuthentication).
//
// Version 2 signs the method, Content-MD5, Content-Type, the expiry, every
// x-amz-* header, the path, and those query parameters that are in a fixed
// list; it does not sign the rest of the query, and it joins what it signs
// without quoting. Three rules close what that leaves open:
//
//   - A parameter that is not signed is refused, unless it can only choose a
//     page of a listing or be held against the route.
//   - x-amz-*, Content-MD5 and Content-Type in the query count as the headers
//     that they stand for, as clients sign them so.
//   - A value is refused if the text to sign could be read in another way with
//     it: one with a control character, or one that holds another parameter.
package sigv2
