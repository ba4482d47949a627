package remote

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/google/go-cmp/cmp"

	"holdfast/storage"
	"holdfast/tracker"
)

// messages is one of every type that crosses the network.
func messages() []any {
	return []any{
		tracker.CreateBucket{}, tracker.Bucket{}, tracker.DeleteBucket{}, nameRequest{}, tracker.ListBuckets{}, tracker.BucketPage{},
		tracker.SetVersioning{}, usageRequest{}, tracker.Usage{},
		tracker.PutObject{}, tracker.PutResult{}, tracker.GetObject{}, tracker.Object{}, tracker.SetTags{}, tagsAnswer{},
		extentsRequest{}, extentsAnswer{}, partsRequest{}, partsAnswer{}, tracker.DeleteObject{}, tracker.DeleteResult{},
		tracker.DeleteObjects{}, deleted{}, tracker.ListObjects{}, tracker.ObjectPage{}, tracker.ListVersions{}, tracker.VersionPage{},
		tracker.CreateUpload{}, tracker.Upload{}, tracker.UploadRef{}, tracker.PutPart{}, tracker.CompleteUpload{}, tracker.AbortUpload{},
		listPartsRequest{}, tracker.PartPage{}, tracker.ListUploads{}, tracker.UploadPage{},
		tracker.PlaceRequest{}, tracker.Grant{}, storage.Ticket{}, mapRequest{}, mapAnswer{}, damageRequest{},
		tracker.Group{}, tracker.Node{}, stateRequest{}, tracker.Beat{}, tracker.BeatAnswer{}, tracker.Status{}, tracker.Repair{},
		roleRequest{}, tracker.SetPolicy{}, tracker.Policy{}, policiesAnswer{}, fsckRequest{}, tracker.Fsck{},
	}
}

// fill sets everything in v that can be set to something that is not zero.
func fill(t *testing.T, r *rand.Rand, v reflect.Value, path string) {
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(-1 - r.Int64N(100))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(1 + r.Uint64N(100))
	case reflect.String:
		v.SetString(fmt.Sprintf("\xff\x00%d", r.IntN(1000)))
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			fill(t, r, v.Index(i), path)
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(t, r, v.Index(i), path)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range 2 {
			k, e := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			fill(t, r, k, path)
			fill(t, r, e, path)
			v.SetMapIndex(k, e)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, r, v.Elem(), path)
	case reflect.Struct:
		if v.Type().String() == "time.Time" {
			return
		}
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if !f.IsExported() && !f.Anonymous {
				t.Errorf("%s.%s is not exported and would be lost", path, f.Name)
				continue
			}
			fill(t, r, v.Field(i), path+"."+f.Name)
		}
	case reflect.Interface: // an error, which travels apart
	default:
		t.Errorf("%s: cannot fill a %s", path, v.Type())
	}
}

// TestNothingIsLost sends every field of every message there and back: one
// whose name is shadowed by an embedded type's, or that cannot be encoded,
// would be lost without a word.
func TestNothingIsLost(t *testing.T) {
	t.Parallel()
	dec, err := cbor.DecOptions{UTF8: cbor.UTF8DecodeInvalid}.DecMode()
	if err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 1))
	for _, m := range messages() {
		in := reflect.New(reflect.TypeOf(m))
		fill(t, r, in.Elem(), in.Elem().Type().String())
		data, err := cbor.Marshal(in.Interface())
		if err != nil {
			t.Errorf("%T: %v", m, err)
			continue
		}
		out := reflect.New(reflect.TypeOf(m))
		if err := dec.Unmarshal(data, out.Interface()); err != nil {
			t.Errorf("%T: %v", m, err)
			continue
		}
		if d := cmp.Diff(in.Elem().Interface(), out.Elem().Interface()); d != "" {
			t.Errorf("%T (seed %d):\n%s", m, seed, d)
		}
	}
}
