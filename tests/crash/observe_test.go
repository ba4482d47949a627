package crash

import (
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"holdfast/erasure/frame"
	"holdfast/storage"
	"holdfast/tests/harness"
	"holdfast/tracker"
	"holdfast/tracker/catalog"
)

// digestOf is what an object's item says: its bytes and what travels with it.
func digestOf(body []byte, etag, tag string) string {
	sum := md5.Sum(body)
	return fmt.Sprintf("%d %s %s %s", len(body), hex.EncodeToString(sum[:6]), etag, tag)
}

func md5Of(b []byte) []byte { s := md5.Sum(b); return s[:] }

func etagOf(body []byte) string {

	sum := md5.Sum(body)
	return hex.EncodeToString(sum[:])
}

func contentMD5(b []byte) string { return base64.StdEncoding.EncodeToString(md5Of(b)) }

// tagOf returns the user metadata "tag", whose letter case is the client's.
func tagOf(h http.Header) string {
	for k, v := range h {
		if strings.EqualFold(k, "X-Amz-Meta-Tag") {
			return v[0]
		}
	}
	return ""
}

// versioned is the digest of a bucket that keeps versions.
const versioned = "versioned"

// listing holds what the listing documents have in common.
type listing struct {
	IsTruncated           bool
	NextContinuationToken string
	Buckets               struct {
		Bucket []struct{ Name string }
	}
	Contents []struct {
		Key, ETag string
		Size      int
	}
	Upload []struct{ Key, UploadId string }
	Part   []struct {
		PartNumber, Size int
		ETag             string
	}
	Status  string
	Entries []struct {
		XMLName xml.Name
		Key     string
		ETag    string
		Size    int
	} `xml:",any"`
}

func (r *rig) list(target string) (*listing, error) {
	a, err := r.want(200, "GET", target, nil)
	if err != nil {
		return nil, err
	}
	l := &listing{}
	if err := xml.Unmarshal(a.body, l); err != nil {
		return nil, fmt.Errorf("GET %s: %w: %.300s", target, err, a.body)
	}
	if l.IsTruncated {
		return nil, fmt.Errorf("GET %s: more than a page", target)
	}
	return l, nil
}

// observe reads everything there is through S3, and returns what contradicts
// itself on the way.
func (r *rig) observe() (world, []error) {
	w, errs := world{}, []error(nil)
	l, err := r.list("/")
	if err != nil {
		return w, []error{err}
	}
	for _, b := range l.Buckets.Bucket {
		w["b "+b.Name] = "there"
		errs = append(errs, r.observeBucket(b.Name, w)...)
	}
	return w, errs
}

func (r *rig) observeBucket(bucket string, w world) (errs []error) {
	add := func(err error) bool {
		if err != nil {
			errs = append(errs, err)
		}
		return err == nil
	}
	var have tracker.Usage
	if l, err := r.list("/" + bucket + "?versioning"); add(err) && l.Status == "Enabled" {
		w["b "+bucket] = versioned
		if l, err := r.list("/" + bucket + "?versions"); add(err) {
			r.observeVersions(bucket, l, w, &have)
		}
	}
	if l, err := r.list("/" + bucket + "?list-type=2"); add(err) {
		for _, o := range l.Contents {
			digest, err := r.observeObject(harness.Path(bucket, o.Key), o.Size, strings.Trim(o.ETag, `"`))
			add(err)
			w["o "+bucket+"/"+o.Key] = digest
			have.Objects++
			if w["b "+bucket] != versioned {
				have.Versions++
				have.Bytes += int64(o.Size)
			}
		}
	}
	if l, err := r.list("/" + bucket + "?uploads"); add(err) {
		for _, u := range l.Upload {
			parts, err := r.list(harness.Path(bucket, u.Key) + "?uploadId=" + url.QueryEscape(u.UploadId))
			if add(err) {
				w["u "+bucket+"/"+u.Key] = partsOf(parts)
			}
			have.Uploads++
		}
	}
	add(r.checkUsage(bucket, have))
	return errs
}

// partsOf is the digest of an open upload.
func partsOf(l *listing) string {
	s := "open"
	for _, p := range l.Part {
		s += fmt.Sprintf(" %d:%d:%s", p.PartNumber, p.Size, strings.Trim(p.ETag, `"`))
	}
	return s
}

// observeVersions notes each key's versions, newest first.
func (r *rig) observeVersions(bucket string, l *listing, w world, have *tracker.Usage) {
	for _, e := range l.Entries {
		item := "v " + bucket + "/" + e.Key
		switch e.XMLName.Local {
		case "Version":
			w[item] += " " + strings.Trim(e.ETag, `"`)
			have.Bytes += int64(e.Size)
		case "DeleteMarker":
			w[item] += " marker"
		default:
			continue
		}
		have.Versions++
	}
}

// observeObject reads an object whole, by its head and its second half.
func (r *rig) observeObject(path string, size int, etag string) (string, error) {
	got, err := r.want(200, "GET", path, nil)
	if err != nil {
		return "", err
	}
	digest := digestOf(got.body, got.etag(), tagOf(got.header))
	head, err := r.want(200, "HEAD", path, nil)
	if err != nil {
		return digest, err
	}
	if len(got.body) != size || got.etag() != etag || head.etag() != etag || head.header.Get("Content-Length") != fmt.Sprint(size) {
		return digest, fmt.Errorf("%s: listed as %d bytes %s, GET has %d bytes %s, HEAD %s bytes %s",
			path, size, etag, len(got.body), got.etag(), head.header.Get("Content-Length"), head.etag())
	}
	if size < 2 {
		return digest, nil
	}
	half, err := r.want(206, "GET", path, nil, "Range", fmt.Sprintf("bytes=%d-", size/2))
	if err == nil && string(half.body) != string(got.body[size/2:]) {
		err = fmt.Errorf("%s: its second half differs from the whole", path)
	}
	return digest, err
}

// checkUsage compares a bucket's counters with what was listed.
func (r *rig) checkUsage(bucket string, have tracker.Usage) error {
	b, err := r.srv.Catalog().Bucket(r.ctx, bucket)
	if err != nil {
		return err
	}
	u, err := r.srv.Catalog().Usage(r.ctx, b.ID)
	if err == nil && u != have {
		err = fmt.Errorf("bucket %s: usage is %+v, listed are %+v", bucket, u, have)
	}
	return err
}

// census holds the catalog against its own rules and the nodes against the
// catalog: every shard that it places is there, sealed and good, those in the
// lost directory aside.
func (r *rig) census(lost string) (wrong []string) {
	wrong, _ = r.survey(false, lost)
	return wrong
}

// survey is census, and tells which shards are not right. With whole set,
// holes are faults too.
func (r *rig) survey(whole bool, lost string) (wrong []string, damage []storage.Damage) {
	snap, release, err := r.srv.Snapshot(r.ctx)
	if err != nil {
		return []string{err.Error()}, nil
	}
	defer release()
	st, err := r.srv.Status(r.ctx)
	if err != nil {
		return []string{err.Error()}, nil
	}
	wrong = catalog.Check(snap)
	err = catalog.Blobs(snap, storage.IDRange{}, func(b *catalog.BlobState) bool {
		for i, p := range b.Shards {
			id := storage.ShardID{Blob: b.ID, Index: uint8(i), Gen: p.Gen}
			switch {
			case b.Dying:
			case lost != "" && st.Map.Node(p.Node) != nil && st.Map.Node(p.Node).Addr == lost:
			case p == (storage.Placement{}):
				if whole {
					wrong = append(wrong, fmt.Sprintf("%s has a hole", id))
				}
			default:
				if err := r.verifyShard(p.Node, id, b); err != nil {
					wrong = append(wrong, fmt.Sprintf("%s on node %d: %v", id, p.Node, err))
					damage = append(damage, storage.Damage{Shard: id, Node: p.Node, Reason: err.Error()})
				}
			}
		}
		return true
	})
	if err != nil {
		wrong = append(wrong, err.Error())
	}
	return wrong, damage
}

// verifyShard reads a shard and checks its seal and every frame.
func (r *rig) verifyShard(node storage.NodeID, id storage.ShardID, b *catalog.BlobState) error {
	api, err := r.srv.Nodes().Shards(node)
	if err != nil {
		return err
	}
	info, err := api.Stat(r.ctx, id)
	if err != nil {
		return err
	}
	if info.Quarantined != 0 || info.Seal.Frames != b.Scheme.Frames(b.Length) || info.Seal.Length != b.Scheme.ShardSize(b.Length) {
		return fmt.Errorf("shard is %+v, blob has %d bytes", info, b.Length)
	}
	rd, err := api.Open(r.ctx, id, 0, -1)
	if err != nil {
		return err
	}
	defer rd.Close()
	return readShard(rd, id, info.Seal)
}

func readShard(rd storage.ShardReader, id storage.ShardID, seal storage.Seal) error {
	seed := frame.SeedOf(id.Blob, id.Index, id.Gen)
	buf := make([]byte, 4*frame.Stride)
	var frames, bytes int64
	for {
		n, err := rd.ReadFrames(buf)
		if n > 0 {
			good, bad := seed.CheckRun(frames, buf[:n])
			if bad != nil {
				return bad
			}
			frames, bytes = frames+good, bytes+int64(n)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	if frames != seal.Frames || bytes != seal.Length {
		return fmt.Errorf("%d frames of %d bytes are there, the seal says %+v", frames, bytes, seal)
	}
	return nil
}

// writeOn makes the server take new writes, inline and packed, and a delete.
// It returns the items that it made.
func (r *rig) writeOn(bucket string) (world, error) {
	made := world{"b " + bucket: "there"}
	if _, err := r.want(200, "PUT", "/"+bucket, nil); err != nil {
		return nil, err
	}
	for i, size := range []int{1000, 30_000} {
		body := pattern(uint64(size), size)
		path := fmt.Sprintf("/%s/%d", bucket, i)
		if _, err := r.want(200, "PUT", path, body); err != nil {
			return nil, err
		}
		got, err := r.want(200, "GET", path, nil)
		if err != nil {
			return nil, err
		}
		if string(got.body) != string(body) {
			return nil, fmt.Errorf("%s differs from what was written", path)
		}
		made["o "+path[1:]] = digestOf(body, etagOf(body), "")
	}
	_, err := r.want(204, "DELETE", "/"+bucket+"/0", nil)
	delete(made, "o "+bucket+"/0")
	return made, err
}

// members counts the nodes and the copies of the catalog that work.
func (r *rig) members() (nodes, voters int, err error) {
	st, err := r.srv.Status(r.ctx)
	if err != nil {
		return 0, 0, err
	}
	for _, n := range st.Map.Nodes {
		if _, err := r.srv.Nodes().Shards(n.ID); err == nil && n.State != tracker.NodeGone {
			nodes++
		}
	}
	for _, v := range st.Voters {
		if v.Err == "" {
			voters++
		}
	}
	return nodes, voters, nil
}
