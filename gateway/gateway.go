// Package gateway is the contract of the gateway: what an S3 front end is
// given and how it is configured. It holds no state that matters; any number
// of gateways may serve one cluster.
//
// holdfast/gateway/s3 is the HTTP front end, holdfast/gateway/route the closed
// table of S3's operations, holdfast/gateway/s3err the one place that knows
// S3's error codes, holdfast/gateway/blob the write and read path of blobs.
package gateway

import (
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"holdfast/auth"
	"holdfast/internal/clock"
	"holdfast/storage"
	"holdfast/tracker"
)

// Deps is what a gateway works with.
type Deps struct {
	Catalog   tracker.Catalog
	Scheduler tracker.Scheduler
	Nodes     storage.Nodes
	Keys      auth.Keys
	// Ready returns nil once the catalog can answer, else why not.
	Ready func() error
	// Clock is the one that the tracker goes by, as far as this process can
	// tell. Nil is the machine's.
	Clock clock.Clock
	// Floor is a catalog time in ms under which nothing is given up any more,
	// as the fence is: what a read needs that begins now becomes garbage at or
	// over it. A clock does not serve: catalog time may be behind it or ahead.
	// Nil is the machine's clock.
	Floor func() int64
}

// Config configures a gateway.
type Config struct {
	Region        string        // answered where a region is asked for
	Domains       []string      // virtual-host style: BUCKET.DOMAIN
	CORSOrigins   []string      // server-wide default; "*" for any; never with credentials
	InlineLimit   int           // bytes; bodies at or under it travel in the commit
	MetricsToken  string        // bearer token for /-/metrics; "" for none
	MetricsPublic bool          // /-/metrics needs no credential
	StrictRegion  bool          // refuse a credential scope of another region
	IdleTimeout   time.Duration // of a keep-alive connection
	HeaderTimeout time.Duration // to receive all headers
	StallTimeout  time.Duration // without a byte from or to the client
}

// Limits of S3's contract, in bytes where no unit is named.
const (
	MaxHeaderBytes  = 16 << 10
	MaxUserMetadata = 2 << 10
	MaxXML          = 1 << 20
	MaxLargeXML     = 8 << 20 // DeleteObjects, CompleteMultipartUpload
	MaxKey          = 1024
	MaxParts        = 10000
	MinPart         = 5 << 20
	MaxPart         = 5 << 30
	MaxPut          = 5 << 30
	MaxObject       = 50 << 40
	MaxDeleteKeys   = 1000
	MaxInlineLimit  = 64 << 10
	MaxObjectTags   = 10
	MaxTagKey       = 128 // UTF-16 units
	MaxTagValue     = 256 // UTF-16 units
)

// DefaultConfig returns the configuration of a gateway that was told nothing.
func DefaultConfig() Config {
	return Config{Region: "us-east-1", CORSOrigins: []string{"*"}, InlineLimit: 8 << 10,
		IdleTimeout: 2 * time.Minute, HeaderTimeout: 15 * time.Second, StallTimeout: time.Minute}
}

// Validate reports the first field that is out of bounds.
func (c *Config) Validate() error {
	switch {
	case c.Region == "":
		return fmt.Errorf("region is empty: name one, for instance us-east-1")
	case c.InlineLimit < 0 || c.InlineLimit > MaxInlineLimit:
		return fmt.Errorf("inline limit %d is not within 0 and %d bytes", c.InlineLimit, MaxInlineLimit)
	case c.IdleTimeout <= 0 || c.HeaderTimeout <= 0 || c.StallTimeout <= 0:
		return fmt.Errorf("idle, header and stall timeouts must be over 0")
	}
	for _, d := range c.Domains {
		if d == "" || strings.ContainsAny(d, "/ ") || net.ParseIP(d) != nil {
			return fmt.Errorf("domain %q is not a host name", d)
		}
	}
	for _, o := range c.CORSOrigins {
		if !isOrigin(o) {
			return fmt.Errorf("CORS origin %q is none that a browser sends: give *, or SCHEME://HOST or SCHEME://HOST:PORT without a path, for instance https://app.example.org; one * may stand for a part of it", o)
		}
	}
	return nil
}

// isOrigin reports whether an Origin header could match o.
func isOrigin(o string) bool {
	if o == "" || o == "*" || o == "null" {
		return true
	}
	u, err := url.Parse(strings.Replace(o, "*", "1", 1))
	return err == nil && u.Scheme != "" && u.Host != "" && u.User == nil && strings.EqualFold(u.Scheme+"://"+u.Host, strings.Replace(o, "*", "1", 1)) && !strings.Contains(u.Host, "*")
}
