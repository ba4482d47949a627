package clients

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/internal/checksum"
)

// checksumValues computes S3's checksums, base64, by algorithm name.
func checksumValues(data []byte) map[string]string {
	out := map[string]string{}
	for a := checksum.CRC32; a <= checksum.Last; a++ {
		h := checksum.New(a)
		h.Write(data)
		out[a.String()] = base64.StdEncoding.EncodeToString(h.Sum(nil))
	}
	return out
}

func TestS3cmd(t *testing.T) {
	each(t, "s3cmd", func(t *testing.T, c *client, s3cmd string) {
		cfg := filepath.Join(c.dir, "s3cfg")
		text := "[default]\naccess_key = holdfast-test\nsecret_key = holdfast-test-secret\nhost_base = " + c.s.Addr + "\nhost_bucket = " + c.s.Addr +
			"\nuse_https = False\nsignature_v2 = False\nmultipart_chunk_size_mb = 5\n"
		if err := os.WriteFile(cfg, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		run := func(args ...string) string { t.Helper(); return c.run(s3cmd, append([]string{"-c", cfg}, args...)...) }
		b := bucketName(t)
		run("mb", "s3://"+b)
		f := c.file("f.bin", 12<<20)
		run("put", f, "s3://"+b+"/dir/f.bin")
		run("get", "s3://"+b+"/dir/f.bin", c.dir+"/back")
		c.same(f, c.dir+"/back")
		run("cp", "s3://"+b+"/dir/f.bin", "s3://"+b+"/copy.bin")
		src := c.tree("src", 8)
		run("sync", src+"/", "s3://"+b+"/tree/")
		if err := os.Mkdir(c.dir+"/dst", 0o755); err != nil {
			t.Fatal(err)
		}
		run("sync", "s3://"+b+"/tree/", c.dir+"/dst/")
		c.sameTree(src, c.dir+"/dst")
		if out := run("ls", "s3://"+b+"/"); !strings.Contains(out, "DIR") || !strings.Contains(out, "copy.bin") {
			t.Errorf("ls: %s", out)
		}
		if out := run("info", "s3://"+b+"/copy.bin"); !strings.Contains(out, "File size: 12582912") {
			t.Errorf("info: %s", out)
		}
		run("del", "--recursive", "--force", "s3://"+b)
		run("rb", "s3://"+b)
	})
}

func TestRclone(t *testing.T) {
	each(t, "rclone", func(t *testing.T, c *client, rclone string) {
		c.env = append(c.env, "RCLONE_CONFIG_HF_TYPE=s3", "RCLONE_CONFIG_HF_PROVIDER=Other", "RCLONE_CONFIG_HF_ENV_AUTH=true",
			"RCLONE_CONFIG_HF_ENDPOINT="+c.s.Endpoint(), "RCLONE_CONFIG="+filepath.Join(c.dir, "none"))
		run := func(args ...string) string { t.Helper(); return c.run(rclone, args...) }
		b := bucketName(t)
		run("mkdir", "hf:"+b)
		src := c.tree("src", 14)
		c.file("src/large.bin", 23<<20)
		run("sync", "--s3-chunk-size", "5M", "--s3-upload-cutoff", "6M", src, "hf:"+b+"/tree")
		run("check", "--download", src, "hf:"+b+"/tree")
		run("check", src, "hf:"+b+"/tree")
		run("sync", "hf:"+b+"/tree", c.dir+"/dst")
		c.sameTree(src, c.dir+"/dst")
		run("copy", "hf:"+b+"/tree", "hf:"+b+"/second")
		if err := os.Remove(filepath.Join(src, "large.bin")); err != nil {
			t.Fatal(err)
		}
		run("sync", src, "hf:"+b+"/tree")
		if out := run("lsf", "-R", "hf:"+b+"/tree"); strings.Contains(out, "large.bin") {
			t.Errorf("sync did not delete: %s", out)
		}
		run("purge", "hf:"+b)
	})
}

func TestRestic(t *testing.T) {
	each(t, "restic", func(t *testing.T, c *client, restic string) {
		b := bucketName(t)
		c.env = append(c.env, "RESTIC_PASSWORD=secret", "RESTIC_REPOSITORY=s3:"+c.s.Endpoint()+"/"+b, "RESTIC_CACHE_DIR="+c.dir+"/cache")
		src := c.tree("src", 20)
		c.run(restic, "init")
		c.run(restic, "backup", src)
		c.file("src/more.bin", 3<<20)
		c.run(restic, "backup", src)
		c.run(restic, "check", "--read-data")
		c.run(restic, "restore", "latest", "--target", c.dir+"/out")
		c.sameTree(src, filepath.Join(c.dir, "out", src))
		c.run(restic, "forget", "--keep-last", "1", "--prune")
		c.run(restic, "check", "--read-data")
	})
}
