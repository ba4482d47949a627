package s3

import (
	"net/http"
	"slices"
	"testing"
	"time"
)

func TestJudge(t *testing.T) {
	t.Parallel()
	const etag = "abc"
	modified := time.Date(2026, 5, 1, 12, 0, 0, 700e6, time.UTC)
	at := func(d time.Duration) string { return modified.Add(d).UTC().Format(http.TimeFormat) }
	for name, tc := range map[string]struct {
		c    conditions
		want verdict
		on   string
	}{
		"none":                             {conditions{}, proceed, ""},
		"match":                            {conditions{ifMatch: `"abc"`}, proceed, ""},
		"match bare":                       {conditions{ifMatch: `abc`}, proceed, ""},
		"match list":                       {conditions{ifMatch: `"x", "abc"`}, proceed, ""},
		"match any":                        {conditions{ifMatch: `*`}, proceed, ""},
		"match weak":                       {conditions{ifMatch: `W/"abc"`}, failed, "If-Match"},
		"match other":                      {conditions{ifMatch: `"x"`}, failed, "If-Match"},
		"none-match":                       {conditions{ifNoneMatch: `"abc"`}, notModified, "If-None-Match"},
		"none-match weak":                  {conditions{ifNoneMatch: `W/"abc"`}, notModified, "If-None-Match"},
		"none-match any":                   {conditions{ifNoneMatch: `*`}, notModified, "If-None-Match"},
		"none-match other":                 {conditions{ifNoneMatch: `"x"`}, proceed, ""},
		"since same second":                {conditions{ifModifiedSince: at(0)}, notModified, "If-Modified-Since"},
		"since before":                     {conditions{ifModifiedSince: at(-time.Second)}, proceed, ""},
		"since invalid":                    {conditions{ifModifiedSince: "yesterday"}, proceed, ""},
		"unmodified same second":           {conditions{ifUnmodifiedSince: at(0)}, proceed, ""},
		"unmodified before":                {conditions{ifUnmodifiedSince: at(-time.Second)}, failed, "If-Unmodified-Since"},
		"match outweighs unmodified":       {conditions{ifMatch: etag, ifUnmodifiedSince: at(-time.Hour)}, proceed, ""},
		"none-match outweighs since":       {conditions{ifNoneMatch: `"x"`, ifModifiedSince: at(time.Hour)}, proceed, ""},
		"none-match holds, since does too": {conditions{ifNoneMatch: etag, ifModifiedSince: at(-time.Hour)}, notModified, "If-None-Match"},
		"match fails first":                {conditions{ifMatch: `"x"`, ifNoneMatch: etag}, failed, "If-Match"},
	} {
		got := tc.c.judge(etag, modified.UnixMilli())
		if got != tc.want {
			t.Errorf("%s: got %d, want %d", name, got, tc.want)
		}
		if got != proceed && tc.c.failedOn(got) != tc.on {
			t.Errorf("%s: failed on %q, want %q", name, tc.c.failedOn(got), tc.on)
		}
	}
}

func TestRangeHolds(t *testing.T) {
	t.Parallel()
	modified := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for h, want := range map[string]bool{"": true, `"abc"`: true, `W/"abc"`: false, `"x"`: false,
		modified.Format(http.TimeFormat): true, modified.Add(-time.Second).Format(http.TimeFormat): false} {
		if got := rangeHolds(h, "abc", modified.UnixMilli()); got != want {
			t.Errorf("%q: got %v", h, got)
		}
	}
}

func TestStrongTags(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		list  string
		match bool
		want  []string
	}{
		{"", true, nil},
		{"*", false, []string{"*"}},
		{`"a","b" , c`, true, []string{"a", "b", "c"}},
		{`W/"a"`, true, []string{`W/"a"`}},
		{`W/"a"`, false, []string{"a"}},
		{`"*"`, false, []string{`W/"*"`}},
		{`"a,b"`, true, []string{"a,b"}},
		{`"open`, true, []string{"open"}},
	} {
		if got := strongTags(tc.list, tc.match); !slices.Equal(got, tc.want) {
			t.Errorf("%q: got %q, want %q", tc.list, got, tc.want)
		}
	}
	if c := strongTags(" , ,", true); len(c) != 1 {
		t.Errorf("empty list: got %q, want a tag that nothing has", c)
	}
}

func TestParseTime(t *testing.T) {
	t.Parallel()
	const want = 1777636800000
	for _, s := range []string{"Fri, 01 May 2026 12:00:00 GMT", "2026-05-01T12:00:00Z", "2026-05-01T12:00:00.000Z", "1777636800", "1777636800.0"} {
		if got, ok := parseTime(s); !ok || got != want {
			t.Errorf("%q: got %d %v", s, got, ok)
		}
	}
	for _, s := range []string{"", "soon", "-5", "99999999999999999999"} {
		if got, ok := parseTime(s); ok {
			t.Errorf("%q: got %d, want refused", s, got)
		}
	}
}
