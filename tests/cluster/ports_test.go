package cluster

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/internal/peer"
	"holdfast/internal/rpc"
	"holdfast/tests/harness"
)

// TestPorts knocks at every port of a cluster without its secret: with plain
// text, with TLS and no certificate, and with the certificate of another
// cluster. None but S3 and health answers.
func TestPorts(t *testing.T) {
	c := harness.StartCluster(t, harness.ClusterOptions{Groups: []harness.GroupSpec{{Name: "default", Scheme: "rep-1", Nodes: 1}}})
	secret, err := peer.ParseSecret("the secret of quite another cluster")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range append(c.Trackers, c.Storage...) {
		for name, hello := range map[string]string{
			"plain HTTP": "GET /-/ready HTTP/1.1\r\nHost: x\r\n\r\n", "plain HTTP/2": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		} {
			if got := say(t, p.Addr, hello); strings.Contains(got, "HTTP") {
				t.Errorf("%s answers %s: %.100q", p.Name, name, got)
			}
		}
		for _, protocol := range []peer.Protocol{peer.Control, peer.Data, peer.Raft} {
			conn, err := tls.Dial("tcp", p.Addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{string(protocol)}})
			if err == nil {
				// TLS 1.3 refuses a client after its own handshake is done.
				_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
				_, _ = io.WriteString(conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
				if got, _ := io.ReadAll(conn); len(got) > 0 {
					t.Errorf("%s answers without a certificate by %s: %q", p.Name, protocol, got)
				}
				_ = conn.Close()
			}
			role := peer.Role(p.Role)
			stranger, err := peer.Derived(secret, role)
			if err != nil {
				t.Fatal(err)
			}
			if conn, err := stranger.Dial(t.Context(), p.Addr, role, protocol); err == nil {
				t.Errorf("%s took a stranger's certificate by %s", p.Name, protocol)
				_ = conn.Close()
			}
		}
	}
	for path, want := range map[string]int{"/-/live": 200, "/-/ready": 200, "/-/metrics": 403, "/-/admin/v1/status": 403, "/": 403, "/bucket/key": 403} {
		resp, err := http.Get("http://" + c.Gateways[0].Addr + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("GET %s without a credential: %d, want %d", path, resp.StatusCode, want)
		}
	}
}

// say sends plain text and returns what comes back.
func say(t *testing.T, addr, text string) string {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = io.WriteString(conn, text)
	got, _ := io.ReadAll(conn)
	return string(got)
}

// TestReplay captures the bytes of a call and plays them to the same port
// again, on a connection of its own: nothing answers them, by whatever method.
func TestReplay(t *testing.T) {
	c := harness.StartCluster(t, harness.ClusterOptions{Trackers: 1, Groups: []harness.GroupSpec{{Name: "default", Scheme: "rep-1", Nodes: 1}}})
	secret, err := peer.ParseSecret(harness.ClusterSecret)
	if err != nil {
		t.Fatal(err)
	}
	creds, err := peer.Derived(secret, peer.Gateway)
	if err != nil {
		t.Fatal(err)
	}
	// A wire tap between the caller and the tracker.
	tap, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tap.Close()
	captured := make(chan []byte, 1)
	go func() {
		conn, err := tap.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		to, err := net.Dial("tcp", c.Trackers[0].Addr)
		if err != nil {
			return
		}
		defer to.Close()
		go func() { _, _ = io.Copy(conn, to) }()
		var all []byte
		buf := make([]byte, 64<<10)
		for {
			n, err := conn.Read(buf)
			all = append(all, buf[:n]...)
			_, _ = to.Write(buf[:n])
			if err != nil {
				captured <- all
				return
			}
		}
	}()
	client, err := rpc.NewClient(tap.Addr().String(), func(ctx context.Context, addr string) (net.Conn, error) {
		return creds.Dial(ctx, addr, peer.Tracker, peer.Control)
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rpc.Call[struct{}, map[string]any](t.Context(), client, "Administration", "Status", &struct{}{}); err != nil {
		t.Fatal(err)
	}
	_ = client.Close()
	call := <-captured
	if len(call) == 0 {
		t.Fatal("nothing was captured")
	}
	again := say(t, c.Trackers[0].Addr, string(call))
	// All that may come back is the server's part of a handshake that the
	// player cannot finish, and an alert.
	if len(again) > 4<<10 {
		t.Errorf("a captured call was answered with %d bytes", len(again))
	}
	if strings.Contains(again, "Incarnation") {
		t.Error("a captured call was answered")
	}
}

// TestNoSecret starts every role without a secret, and with one that is none.
func TestNoSecret(t *testing.T) {
	for _, secret := range []string{"", "short"} {
		for _, args := range [][]string{
			{"tracker", "DIR", "--bootstrap", "--listen", "127.0.0.1:0", "--advertise", "127.0.0.1:1"},
			{"storage", "DIR", "--trackers", "127.0.0.1:1", "--listen", "127.0.0.1:0", "--advertise", "127.0.0.1:1"},
			{"gateway", "--trackers", "127.0.0.1:1", "--address", "127.0.0.1:0"},
		} {
			dir := filepath.Join(t.TempDir(), "d")
			for i := range args {
				args[i] = strings.ReplaceAll(args[i], "DIR", dir)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			cmd := exec.CommandContext(ctx, harness.Binary(t), args...)
			cmd.Env = []string{"HOLDFAST_CLUSTER_SECRET=" + secret, "HOLDFAST_ROOT_USER=" + harness.User, "HOLDFAST_ROOT_PASSWORD=" + harness.Password}
			out, err := cmd.CombinedOutput()
			cancel()
			if err == nil || !strings.Contains(string(out), "holdfast init") {
				t.Errorf("holdfast %s with the secret %q: %v, %s", args[0], secret, err, out)
			}
			if exists(dir) {
				t.Errorf("holdfast %s made a directory without a secret", args[0])
			}
		}
	}
}

func exists(dir string) bool {
	_, err := os.Stat(dir)
	return err == nil
}
