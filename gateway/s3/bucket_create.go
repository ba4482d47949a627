package s3

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"net/http"

	"holdfast/gateway"
	"holdfast/gateway/s3err"
	"holdfast/tracker"
)

// createConfiguration is the body of CreateBucket. Its root has had other
// namespaces and none, in clients of every age.
type createConfiguration struct {
	XMLName            xml.Name `xml:"CreateBucketConfiguration"`
	LocationConstraint string
	Location           *struct{ Name, Type string }
	Bucket             *struct{ DataRedundancy, Type string }
	Tags               *struct{ Tag []struct{ Key, Value string } }
}

// createBucket serves CreateBucket. A bucket that the caller has already is
// BucketAlreadyOwnedByYou, in every region alike.
func createBucket(c *call) error {
	if !validBucketName(c.bucket) {
		return s3err.InvalidBucketName.New("", "BucketName", c.bucket)
	}
	location, err := c.readLocation()
	if err != nil {
		return err
	}
	r := &tracker.CreateBucket{Name: c.bucket, Owner: c.owner(), Location: location}
	var existing *tracker.Bucket
	err = c.commit(func(ctx context.Context, m tracker.Mutation) (err error) {
		r.Mutation = m
		existing, err = c.s.deps.Catalog.CreateBucket(ctx, r)
		return err
	})
	if errors.Is(err, tracker.ErrBucketExists) {
		code := s3err.BucketAlreadyExists
		if existing != nil && existing.Owner == r.Owner {
			code = s3err.BucketAlreadyOwnedByYou
		}
		return code.New("", "BucketName", c.bucket)
	}
	if err != nil {
		return err
	}
	h := c.w.Header()
	h["Location"] = []string{"/" + c.bucket}
	h["Content-Length"] = []string{"0"}
	c.w.WriteHeader(http.StatusOK)
	return nil
}

// maxLocation bounds a LocationConstraint in bytes.
const maxLocation = 64

// readLocation reads the optional body. Any LocationConstraint is taken and
// given back as it is, but for strict mode.
func (c *call) readLocation() (string, error) {
	doc, err := c.readDocument(gateway.MaxXML)
	if err != nil || len(bytes.TrimSpace(doc)) == 0 {
		return "", err
	}
	var conf createConfiguration
	if err = parseXML(doc, &conf); err != nil {
		return "", err
	}
	switch {
	case conf.Location != nil || conf.Bucket != nil:
		return "", s3err.NotImplemented.New("Directory buckets are not implemented.")
	case conf.Tags != nil && len(conf.Tags.Tag) > 0:
		return "", s3err.NotImplemented.New("Tags of buckets are not implemented.")
	case len(conf.LocationConstraint) > maxLocation || !printable(conf.LocationConstraint):
		return "", s3err.InvalidLocationConstraint.New("", "LocationConstraint", cut(conf.LocationConstraint))
	case c.s.cfg.StrictRegion && conf.LocationConstraint != "" && conf.LocationConstraint != c.s.cfg.Region:
		return "", s3err.IllegalLocationConstraint.New("The " + conf.LocationConstraint +
			" location constraint is incompatible for the region specific endpoint this request was sent to.")
	}
	return conf.LocationConstraint, nil
}

// validBucketName holds a name against the rules of the S3 User Guide, "General
// purpose bucket naming rules": 3 to 63 bytes of lower-case letters, digits,
// dots and hyphens, with a letter or digit at both ends and beside every dot,
// and not in the form of an IPv4 address. The reserved prefixes and suffixes
// of the rules are AWS's own names and are free here.
func validBucketName(name string) bool {
	if len(name) < 3 || len(name) > 63 {
		return false
	}
	alnum := func(b byte) bool { return 'a' <= b && b <= 'z' || '0' <= b && b <= '9' }
	dots, digits := 0, true
	for i := 0; i < len(name); i++ {
		b := name[i]
		switch {
		case alnum(b):
			digits = digits && b <= '9'
		case i == 0 || i == len(name)-1:
			return false
		case b == '.':
			if !alnum(name[i-1]) || !alnum(name[i+1]) {
				return false
			}
			dots++
		case b == '-':
			digits = false
		default:
			return false
		}
	}
	return !(digits && dots == 3)
}
