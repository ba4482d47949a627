package clients

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"holdfast/tests/harness"
)

// page is what a browser loads from another origin: it uploads by presigned
// PUT and by a POST form, reads back by a presigned GET, and reports.
const page = `<!doctype html><title>t</title><script type="module">
const plan = await (await fetch("/plan")).json();
const out = {};
try {
  const put = await fetch(plan.put, {method: "PUT", body: "from the browser", headers: {"content-type": "text/plain"}});
  out.put = put.status; out.etag = put.headers.get("etag");
  const get = await fetch(plan.get);
  out.get = get.status; out.body = await get.text(); out.getEtag = get.headers.get("etag");
  const form = new FormData();
  for (const [k, v] of Object.entries(plan.fields)) form.append(k, v);
  form.append("file", new Blob(["posted form"], {type: "text/plain"}), "f.txt");
  out.post = (await fetch(plan.url, {method: "POST", body: form})).status;
  out.posted = await (await fetch(plan.getPosted)).text();
  const denied = await fetch(plan.denied);
  out.denied = denied.status; out.deniedText = (await denied.text()).includes("AccessDenied");
} catch (e) { out.error = String(e); }
await fetch("/result", {method: "POST", body: JSON.stringify(out)});
</script>`

type browserResult struct {
	Put, Get, Post, Denied int
	Etag, GetEtag          string
	Body, Posted, Error    string
	DeniedText             bool
}

func TestBrowser(t *testing.T) {
	each(t, "chromium", func(t *testing.T, c *client, chromium string) { browse(t, c, chromium) })
}

func browse(t *testing.T, c *client, chromium string) {
	plan := browserPlan(t, c.s)
	results := make(chan browserResult, 1)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, page)
	})
	mux.HandleFunc("GET /plan", func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(plan) })
	mux.HandleFunc("POST /result", func(_ http.ResponseWriter, r *http.Request) {
		var b browserResult
		if err := json.NewDecoder(r.Body).Decode(&b); err != nil {
			b.Error = err.Error()
		}
		results <- b
	})
	origin := httptest.NewServer(mux)
	defer origin.Close()

	cmd := exec.CommandContext(t.Context(), chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
		"--no-first-run", "--disable-background-networking", "--remote-debugging-port=0", "--user-data-dir="+c.dir+"/profile", origin.URL)
	cmd.Env = c.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		// Its helpers write to the profile for as long as they live.
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
		for end := time.Now().Add(10 * time.Second); os.RemoveAll(c.dir+"/profile") != nil && time.Now().Before(end); {
			time.Sleep(20 * time.Millisecond)
		}
	}()
	select {
	case got := <-results:
		want := browserResult{Put: 200, Get: 200, Post: 204, Denied: 403, Body: "from the browser", Posted: "posted form", DeniedText: true,
			Etag: got.GetEtag, GetEtag: got.GetEtag}
		if got != want || got.Etag == "" {
			t.Fatalf("the browser saw %+v, want %+v", got, want)
		}
	case <-time.After(commandLimit):
		t.Fatalf("the browser did not report within %v", commandLimit)
	}
}

func browserPlan(t *testing.T, s *harness.Server) map[string]any {
	t.Helper()
	b, key, posted, typ := bucketName(t), "up/put.txt", "up/post.txt", "text/plain"
	if _, err := s.S3().CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &b}); err != nil {
		t.Fatal(err)
	}
	p := s3.NewPresignClient(s.S3())
	put, err := p.PresignPutObject(t.Context(), &s3.PutObjectInput{Bucket: &b, Key: &key, ContentType: &typ})
	if err != nil {
		t.Fatal(err)
	}
	get, err := p.PresignGetObject(t.Context(), &s3.GetObjectInput{Bucket: &b, Key: &key})
	if err != nil {
		t.Fatal(err)
	}
	getPosted, err := p.PresignGetObject(t.Context(), &s3.GetObjectInput{Bucket: &b, Key: &posted})
	if err != nil {
		t.Fatal(err)
	}
	post, err := p.PresignPostObject(t.Context(), &s3.PutObjectInput{Bucket: &b, Key: &posted})
	if err != nil {
		t.Fatal(err)
	}
	return map[string]any{"put": put.URL, "get": get.URL, "getPosted": getPosted.URL, "url": post.URL, "fields": post.Values,
		"denied": s.Endpoint() + "/" + b + "/" + key}
}
