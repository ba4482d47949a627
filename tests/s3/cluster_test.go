// Package s3_test drives the S3 front end over the real catalog, scheduler
// and blob path, in one process and in memory.
package s3_test

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/rs/zerolog"

	"holdfast/auth"
	"holdfast/auth/sigv4"
	"holdfast/erasure"
	"holdfast/gateway"
	front "holdfast/gateway/s3"
	"holdfast/internal/clock"
	"holdfast/internal/vfs"
	"holdfast/storage"
	"holdfast/storage/memory"
	"holdfast/tracker"
	"holdfast/tracker/catalog"
	"holdfast/tracker/consensus"
	"holdfast/tracker/service"
)

const (
	user     = "test-user"
	password = "test-secret-key"
	bucket   = "bucket"
)

// cluster is one catalog voter, nodes in memory, and one gateway.
type cluster struct {
	*httptest.Server
	t     testing.TB
	svc   *service.Service
	nodes nodeMap
	hooks *hooked
	class string // of a second group
}

type nodeMap map[storage.NodeID]*memory.Node

func (m nodeMap) Shards(id storage.NodeID) (storage.Shards, error) {
	if n := m[id]; n != nil {
		return n, nil
	}
	return nil, storage.ErrOffline
}

// open starts a cluster with a group of class STANDARD under the scheme and
// one of class STANDARD_IA under rep-1, and makes the bucket.
func open(t testing.TB, scheme string, change func(*gateway.Config)) *cluster {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	log, err := consensus.OpenLocal(ctx, consensus.LocalConfig{
		Voters:    []consensus.Voter{{ID: "v1", FS: vfs.NewMem(), Dir: "catalog"}},
		ClusterID: "test", Bootstrap: true, BallastBytes: -1, Logger: zerolog.Nop(),
		Machine: func(int) consensus.Machine { return catalog.NewMachine() }})
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, nodes: nodeMap{}, class: "STANDARD_IA"}
	cat := service.NewCatalog(log, clock.System{})
	cfg := service.Default()
	if c.svc, err = service.New(cfg, cat, cat, cat, c.nodes, clock.System{}, zerolog.Nop()); err != nil {
		t.Fatal(err)
	}
	if _, err := cat.Do(ctx, tracker.Mutation{}, catalog.SetIdentity{Cluster: "test", Incarnation: "one"}, true); err != nil {
		t.Fatal(err)
	}
	s, err := erasure.ParseScheme(scheme)
	if err != nil {
		t.Fatal(err)
	}
	c.group("main", "STANDARD", s, s.Width()+1)
	c.group("slow", c.class, erasure.Replicated(1), 1)
	go c.svc.Run(ctx)

	keys, err := auth.NewStatic(user, password)
	if err != nil {
		t.Fatal(err)
	}
	gc := gateway.DefaultConfig()
	if change != nil {
		change(&gc)
	}
	c.hooks = &hooked{Catalog: c.svc, Scheduler: c.svc}
	srv, err := front.NewServer(gc, gateway.Deps{Catalog: c.hooks, Scheduler: c.hooks, Nodes: c.nodes, Keys: keys, Ready: func() error { return nil }},
		zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.WarnLevel), nil)
	if err != nil {
		t.Fatal(err)
	}
	c.Server = httptest.NewUnstartedServer(nil)
	c.Server.Config = srv.HTTPServer()
	c.Server.Start()
	t.Cleanup(func() {
		c.Server.Close()
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
		cancel()
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	})
	c.must(200, "PUT", "/"+bucket, "")
	return c
}

func (c *cluster) group(name, class string, s erasure.Scheme, nodes int) {
	c.t.Helper()
	ctx := context.Background()
	g, err := c.svc.RegisterGroup(ctx, tracker.Group{Name: name, Class: class, Scheme: s})
	if err != nil {
		c.t.Fatal(err)
	}
	for i := range nodes {
		n, err := c.svc.RegisterNode(ctx, tracker.Node{Group: g.ID, State: tracker.NodeActive, Addr: fmt.Sprint(name, i)})
		if err != nil {
			c.t.Fatal(err)
		}
		m := memory.New(n.ID, c.nodes)
		m.SetEpoch(n.Epoch)
		c.nodes[n.ID] = m
		st, err := m.Status(ctx)
		if err != nil {
			c.t.Fatal(err)
		}
		if _, err := c.svc.Beat(ctx, &tracker.Beat{Nodes: []storage.Status{st}}); err != nil {
			c.t.Fatal(err)
		}
	}
}

// client returns an SDK client at its default settings.
func (c *cluster) client(options ...func(*s3.Options)) *s3.Client {
	return s3.New(s3.Options{BaseEndpoint: aws.String(c.URL), Region: "us-east-1", UsePathStyle: true, HTTPClient: c.Server.Client(),
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: user, SecretAccessKey: password}, nil
		})}, options...)
}

// answer is a whole response.
type answer struct {
	status int
	header http.Header
	body   string
}

// do sends a signed request. path is escaped; headers come in pairs.
func (c *cluster) do(method, path, body string, headers ...string) answer {
	c.t.Helper()
	a, err := c.try(method, path, body, headers...)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

func (c *cluster) try(method, path, body string, headers ...string) (answer, error) {
	req, err := http.NewRequest(method, c.URL+path, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header[headers[i]] = append(req.Header[headers[i]], headers[i+1])
	}
	sum := sha256.Sum256([]byte(body))
	sigv4.Sign(req, user, password, "us-east-1", hex.EncodeToString(sum[:]), time.Now())
	res, err := c.Server.Client().Do(req)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Header, string(data)}, err
}

// sign signs a request whose body is not.
func sign(req *http.Request) {
	sigv4.Sign(req, user, password, "us-east-1", sigv4.UnsignedPayload, time.Now())
}

// must is do that fails the test unless the status is the wanted one.
func (c *cluster) must(status int, method, path, body string, headers ...string) answer {
	c.t.Helper()
	a := c.do(method, path, body, headers...)
	if a.status != status {
		c.t.Fatalf("%s %s: status %d, want %d: %.600s", method, path, a.status, status, a.body)
	}
	return a
}

// refused is must that wants an error code too.
func (c *cluster) refused(status int, code, method, path, body string, headers ...string) answer {
	c.t.Helper()
	a := c.must(status, method, path, body, headers...)
	if method != "HEAD" && !strings.Contains(a.body, "<Code>"+code+"</Code>") {
		c.t.Fatalf("%s %s: want code %s: %.600s", method, path, code, a.body)
	}
	return a
}

// pattern is n bytes that differ from each other at every offset.
func pattern(n int) string {
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "%08x", i*2654435761)
	}
	return b.String()[:n]
}

func etagOf(body string) string {
	sum := md5.Sum([]byte(body))
	return `"` + hex.EncodeToString(sum[:]) + `"`
}

// between cuts the text of an element.
func between(s, element string) string {
	_, rest, _ := strings.Cut(s, "<"+element+">")
	v, _, _ := strings.Cut(rest, "</"+element+">")
	return v
}
