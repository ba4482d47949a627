package catalog

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"

	"holdfast/tracker"
)

// op says what a command does. The values are in the log and never change.
type op uint8

const (
	opCreateBucket op = 1 + iota
	opDeleteBucket
	opSetVersioning
	opPut
	opDelete
	opDeleteMany
	opCreateUpload
	opPutPart
	opComplete
	opAbort
	opSwitchShard
	opAdoptShard
	opRaiseFence
	opRaiseTime
	opAddNode
	opSetNode
	opAddGroup
	opSweep
	opDropGarbage
	opTrimResults
	opTrimOutcomes
	opTrimChanges
	opSetCursor
	opSetJob
	opSetIdentity
	opRaiseLevel
	opSetTags
	opSetPolicy
)

// Level is the feature level of this package: the newest commands it knows.
// A command over the level in the state is refused with ErrLevel, so a new one
// takes effect only after RaiseLevel, once every member has the binary. Level
// 2 brought SetTags, and tags in commands; level 3 SetPolicy.
const Level = 3

const (
	plainLevel  = 1
	tagsLevel   = 2
	policyLevel = 3
	// openLevel is the last level whose commands are never refused. They were
	// proposed before a state had a level, and a log that holds them must give
	// the same results when it is applied again.
	openLevel = tagsLevel
)

// ErrLevel refuses a command over the level in the state. It did nothing and
// may be proposed again once the level was raised.
var ErrLevel = fmt.Errorf("command is over the catalog's feature level: %w", tracker.ErrUnavailable)

// The versions of a command's encoding. A binary that does not know a
// command's version stops rather than judge it in another way than others do.
const (
	plainVersion   = 1
	tagsVersion    = 2 // the attributes in it hold tags
	commandVersion = tagsVersion
)

// headLen is the length of a command's head.
const headLen = 34

// Header is what every command begins with.
type Header struct {
	At       int64 // the proposer's time, ms
	Request  tracker.RequestID
	NotAfter int64 // ms, 0 for none
}

// Command is one operation, ready to be encoded. The types of this package
// whose names are operations are the commands; each tells the type of the
// result that Machine.Apply gives for it where that is not an error.
type Command interface {
	op() op
	append(dst []byte) []byte
}

// Encode appends a command as it travels in the log:
//
//	0   1   operation
//	1   1   version: 1, or 2 where it carries tags in its attributes
//	2   8   proposer's time in ms
//	10  16  request id
//	26  8   not after, ms; 0 for none
//	34      body, by operation
func Encode(dst []byte, h Header, c Command) []byte {
	version := byte(plainVersion)
	if t, ok := c.(interface{ tagged() bool }); ok && t.tagged() {
		version = tagsVersion
	}
	dst = le64(append(dst, byte(c.op()), version), uint64(h.At))
	dst = le64(append(dst, h.Request[:]...), uint64(h.NotAfter))
	return c.append(dst)
}

// Restamp sets the proposer's time in an encoded command that is proposed again.
func Restamp(cmd []byte, at, notAfter int64) {
	binary.LittleEndian.PutUint64(cmd[2:], uint64(at))
	binary.LittleEndian.PutUint64(cmd[26:], uint64(notAfter))
}

// command is a decoded head; body points into the encoding.
type command struct {
	op       op
	level    uint64 // the feature level that brought it
	at       int64
	req      tracker.RequestID
	notAfter int64
	body     dec
}

func (c *command) decode(p []byte) bool {
	if len(p) < headLen || p[1] < plainVersion || p[1] > commandVersion {
		return false
	}
	c.op, c.level = op(p[0]), plainLevel
	switch {
	case c.op == opSetPolicy:
		c.level = policyLevel
	case c.op == opSetTags, p[1] >= tagsVersion:
		c.level = tagsLevel
	}
	c.at = int64(min(binary.LittleEndian.Uint64(p[2:]), math.MaxInt64>>seqCounterBits))
	c.req = tracker.RequestID(p[10:26])
	c.notAfter = int64(binary.LittleEndian.Uint64(p[26:]))
	c.body = dec{p: p[headLen:]}
	return true
}

// The conditions of a command: a byte of flags, then what they announce:
// lists of ETags (count uvarint, blocks), size i64, time i64 in ms.
const (
	condMatch     = 1 << 0
	condNoneMatch = 1 << 1
	condSize      = 1 << 2
	condTime      = 1 << 3
)

// maxETags bounds a list of ETags in a condition.
const maxETags = 1000

func appendConditions(dst []byte, c *tracker.Conditions) []byte {
	at := len(dst)
	dst = append(dst, 0)
	if len(c.IfMatch) > 0 {
		dst[at] |= condMatch
		dst = appendTexts(dst, c.IfMatch)
	}
	if len(c.IfNoneMatch) > 0 {
		dst[at] |= condNoneMatch
		dst = appendTexts(dst, c.IfNoneMatch)
	}
	if c.IfSize != nil {
		dst[at] |= condSize
		dst = le64(dst, uint64(*c.IfSize))
	}
	if c.IfModifiedTime != nil {
		dst[at] |= condTime
		dst = le64(dst, uint64(*c.IfModifiedTime))
	}
	return dst
}

func appendTexts(dst []byte, list []string) []byte {
	dst = uv(dst, uint64(len(list)))
	for _, s := range list {
		dst = block(dst, s)
	}
	return dst
}

type conditions struct {
	flags           byte
	match, nonmatch []byte
	size, time      int64
}

func (c *conditions) decode(d *dec) {
	c.flags = d.u8()
	if c.flags&condMatch != 0 {
		c.match = takeTexts(d)
	}
	if c.flags&condNoneMatch != 0 {
		c.nonmatch = takeTexts(d)
	}
	if c.flags&condSize != 0 {
		c.size = int64(d.u64())
	}
	if c.flags&condTime != 0 {
		c.time = int64(d.u64())
	}
	if c.flags >= condTime<<1 {
		d.bad = true
	}
}

func takeTexts(d *dec) []byte {
	before := d.p
	for n := d.count(maxETags); n > 0; n-- {
		d.block()
	}
	return before[:len(before)-len(d.p)]
}

// judge returns nil if the conditions hold for cur, nil for no live version.
func (c *conditions) judge(cur *objectRow) error {
	if c.flags == 0 {
		return nil
	}
	if cur == nil {
		if c.flags&condMatch != 0 {
			return tracker.ErrNoSuchKey
		}
		return nil
	}
	var buf [64]byte
	etag := cur.appendETagText(buf[:0])
	switch {
	case c.flags&condMatch != 0 && !anyETag(c.match, etag),
		c.flags&condNoneMatch != 0 && anyETag(c.nonmatch, etag),
		c.flags&condSize != 0 && c.size != cur.size,
		c.flags&condTime != 0 && c.time/1000 != seqTime(cur.seq)/1000:
		return tracker.ErrPrecondition
	}
	return nil
}

func anyETag(list, etag []byte) bool {
	d := dec{p: list}
	for n := d.count(maxETags); n > 0; n-- {
		if e := d.block(); string(e) == "*" || bytes.Equal(e, etag) {
			return true
		}
	}
	return false
}
