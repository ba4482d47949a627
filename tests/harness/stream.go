package harness

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"holdfast/auth/sigv4"
)

// Pattern is a body of N bytes that is cheap to make and to check: one random
// block over and over, each time with the block's number in its first bytes.
type Pattern struct {
	Seed uint64
	N    int64

	at    int64
	block []byte
}

const patternBlock = 1 << 20

// next returns the bytes at the present position, up to the block's end.
func (p *Pattern) next() []byte {
	if p.block == nil {
		p.block = make([]byte, patternBlock)
		rng := rand.New(rand.NewPCG(p.Seed, 7))
		for i := 0; i < patternBlock; i += 8 {
			binary.LittleEndian.PutUint64(p.block[i:], rng.Uint64())
		}
	}
	binary.LittleEndian.PutUint64(p.block, uint64(p.at/patternBlock))
	from := p.at % patternBlock
	return p.block[from:min(patternBlock, from+p.N-p.at)]
}

// Read implements io.Reader.
func (p *Pattern) Read(b []byte) (int, error) {
	if p.at >= p.N {
		return 0, io.EOF
	}
	n := copy(b, p.next())
	p.at += int64(n)
	return n, nil
}

// Write compares the bytes with the pattern's, from the present position on.
func (p *Pattern) Write(b []byte) (int, error) {
	for done := 0; done < len(b); {
		if p.at >= p.N {
			return done, fmt.Errorf("more than %d bytes", p.N)
		}
		want := p.next()
		want = want[:min(len(want), len(b)-done)]
		if !bytes.Equal(want, b[done:done+len(want)]) {
			return done, fmt.Errorf("the bytes differ within %d bytes of offset %d", len(want), p.at)
		}
		done += len(want)
		p.at += int64(len(want))
	}
	return len(b), nil
}

// Upload streams a pattern with an unsigned payload.
func (r *Raw) Upload(path string, p *Pattern) error {
	return r.Stream(path, &Pattern{Seed: p.Seed, N: p.N}, p.N)
}

// Stream puts the n bytes of body, as they come, with an unsigned payload.
func (r *Raw) Stream(path string, body io.Reader, n int64) error {
	req, err := http.NewRequest("PUT", r.endpoint()+path, io.NopCloser(body))
	if err != nil {
		return err
	}
	req.ContentLength = n
	sigv4.Sign(req, User, Password, "us-east-1", sigv4.UnsignedPayload, r.now())
	resp, err := r.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
		return fmt.Errorf("PUT %s: %s: %s", path, resp.Status, b)
	}
	return nil
}

// Verify downloads a pattern and compares every byte.
func (r *Raw) Verify(path string, p *Pattern) error {
	req, err := http.NewRequest("GET", r.endpoint()+path, nil)
	if err != nil {
		return err
	}
	sigv4.Sign(req, User, Password, "us-east-1", sigv4.UnsignedPayload, r.now())
	resp, err := r.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", path, resp.Status)
	}
	n, err := io.Copy(&Pattern{Seed: p.Seed, N: p.N}, resp.Body)
	switch {
	case err != nil:
		return fmt.Errorf("GET %s: %w", path, err)
	case n != p.N:
		return fmt.Errorf("GET %s: %d of %d bytes", path, n, p.N)
	}
	return nil
}

// Usage is what a process takes.
type Usage struct {
	RSS, PeakRSS int64         // bytes
	CPU          time.Duration // user and system, since its start
}

// Usage reads the server's usage.
func (s *Server) Usage() Usage {
	s.t.Helper()
	return UsageOf(s.t, s.PID())
}

// UsageOf is Usage of any process.
func UsageOf(t testing.TB, pid int) Usage {
	t.Helper()
	var u Usage
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(data), "\n") {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		kib, _ := strconv.ParseInt(f[1], 10, 64)
		switch f[0] {
		case "VmRSS:":
			u.RSS = kib << 10
		case "VmHWM:":
			u.PeakRSS = kib << 10
		}
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+2:]))
	user, _ := strconv.ParseInt(f[11], 10, 64)
	sys, _ := strconv.ParseInt(f[12], 10, 64)
	u.CPU = time.Duration(user+sys) * 10 * time.Millisecond
	return u
}
