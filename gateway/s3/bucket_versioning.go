package s3

import (
	"context"
	"encoding/xml"
	"net/http"

	"holdfast/gateway"
	"holdfast/gateway/s3err"
	"holdfast/tracker"
)

// versioningConfiguration is the document of both versioning operations.
type versioningConfiguration struct {
	XMLName   xml.Name `xml:"VersioningConfiguration"`
	Xmlns     string   `xml:"xmlns,attr,omitempty"`
	Status    string   `xml:",omitempty"`
	MFADelete string   `xml:"MfaDelete,omitempty"`
}

// putBucketVersioning serves PutBucketVersioning.
func putBucketVersioning(c *call) error {
	b, err := c.bucketInfo()
	if err != nil {
		return err
	}
	var conf versioningConfiguration
	if err = c.readXML(gateway.MaxXML, &conf); err != nil {
		return err
	}
	r := &tracker.SetVersioning{Bucket: b.ID}
	switch conf.Status {
	case "Enabled":
		r.State = tracker.VersioningEnabled
	case "Suspended":
		r.State = tracker.VersioningSuspended
	default:
		return s3err.MalformedXML
	}
	switch conf.MFADelete {
	case "", "Disabled":
	case "Enabled":
		return s3err.NotImplemented.New("MFA delete is not implemented.")
	default:
		return s3err.MalformedXML
	}
	err = c.commit(func(ctx context.Context, m tracker.Mutation) error {
		r.Mutation = m
		return c.s.deps.Catalog.SetVersioning(ctx, r)
	})
	if err != nil {
		return err
	}
	c.w.Header()["Content-Length"] = []string{"0"}
	c.w.WriteHeader(http.StatusOK)
	return nil
}

// getBucketVersioning serves GetBucketVersioning. A bucket that never
// versioned has no status at all.
func getBucketVersioning(c *call) error {
	b, err := c.bucketInfo()
	if err != nil {
		return err
	}
	out := &versioningConfiguration{Xmlns: namespace}
	switch b.Versioning {
	case tracker.VersioningEnabled:
		out.Status = "Enabled"
	case tracker.VersioningSuspended:
		out.Status = "Suspended"
	}
	return c.writeXML(http.StatusOK, out)
}
