package s3

import (
	"net/http"
	"strconv"

	"holdfast/gateway/s3err"
	"holdfast/tracker"
)

// maxBuckets is the largest page of ListBuckets.
const maxBuckets = 10000

// bucketScope is the scope of the tokens of ListBuckets.
const bucketScope = 0x6275636b657473

// listBuckets serves ListBuckets. A page has at most 10,000 buckets, which is
// all of them but where there are more than S3 itself gives without paging.
func listBuckets(c *call) error {
	r := &tracker.ListBuckets{Prefix: c.query.Get("prefix"), Max: maxBuckets}
	if c.query.Has("max-buckets") {
		v := c.query.Get("max-buckets")
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || n > maxBuckets {
			return errArgument("Argument max-buckets must be an integer between 1 and 10000.", "max-buckets", cut(v))
		}
		r.Max = n
	}
	if token := c.query.Get("continuation-token"); token != "" {
		after, _, ok := decodeToken(bucketScope, token)
		if !ok {
			return errArgument("The continuation token provided is incorrect", "continuation-token", cut(token))
		}
		r.After = after
	}
	page, err := c.s.deps.Catalog.ListBuckets(c.r.Context(), r)
	if err != nil {
		return err
	}
	region := c.query.Get("bucket-region")
	buf := getBuffer()
	defer putBuffer(buf)
	b := append(*buf, xmlHeader+`<ListAllMyBucketsResult xmlns="`+namespace+`">`...)
	b = appendOwner(b, "Owner", c.owner())
	b = appendOpen(b, "Buckets")
	for i := range page.Buckets {
		b = c.appendBucket(b, &page.Buckets[i], region)
	}
	b = appendClose(b, "Buckets")
	if n := len(page.Buckets); page.Truncated && n > 0 {
		b = appendText(b, "ContinuationToken", encodeToken(bucketScope, page.Buckets[n-1].Name, false))
	}
	if r.Prefix != "" {
		b = appendText(b, "Prefix", r.Prefix)
	}
	*buf = appendClose(b, "ListAllMyBucketsResult")
	return c.writeDocument(http.StatusOK, *buf)
}

// appendBucket appends a bucket unless it is of another region than asked.
func (c *call) appendBucket(b []byte, bucket *tracker.Bucket, region string) []byte {
	shown := c.s.regionOf(bucket)
	if region != "" && region != shown {
		return b
	}
	var day dayMemo
	b = appendOpen(b, "Bucket")
	b = appendText(b, "Name", bucket.Name)
	b = appendClose(day.append(appendOpen(b, "CreationDate"), bucket.Created), "CreationDate")
	b = appendText(b, "BucketRegion", shown)
	return appendClose(b, "Bucket")
}

// regionOf is the region that a bucket is shown in: its LocationConstraint, or
// the gateway's region.
func (s *Server) regionOf(b *tracker.Bucket) string {
	if b.Location != "" {
		return b.Location
	}
	return s.cfg.Region
}

// appendOwner appends who owns something.
func appendOwner(b []byte, name, owner string) []byte {
	b = appendOpen(b, name)
	b = appendText(b, "ID", owner)
	b = appendText(b, "DisplayName", owner)
	return appendClose(b, name)
}

// headBucket serves HeadBucket.
func headBucket(c *call) error {
	b, err := c.bucketInfo()
	if err != nil {
		return err
	}
	h := c.w.Header()
	h["X-Amz-Bucket-Region"] = []string{c.s.regionOf(b)}
	h["X-Amz-Access-Point-Alias"] = []string{"false"}
	h["Content-Type"] = xmlType
	c.w.WriteHeader(http.StatusOK)
	return nil
}

// getBucketLocation serves GetBucketLocation. No constraint reads as
// us-east-1, which the document says by being empty.
func getBucketLocation(c *call) error {
	b, err := c.bucketInfo()
	if err != nil {
		return err
	}
	location := b.Location
	if location == "us-east-1" {
		location = ""
	}
	buf := getBuffer()
	defer putBuffer(buf)
	doc := append(*buf, xmlHeader+`<LocationConstraint xmlns="`+namespace+`">`...)
	*buf = appendClose(s3err.AppendText(doc, location), "LocationConstraint")
	return c.writeDocument(http.StatusOK, *buf)
}
