// Package catalog is the meaning of every operation of the catalog: what the
// rows are, what a command does to them, and what a read makes of them. It is
// pure: it stands on the ordered-KV interfaces of tracker/kv, reads no clock
// and no randomness, and starts no goroutine. Machine gives it to a
// replicated log; the functions that take a kv.Reader are its reads.
//
// # Rows
//
// Keys are big-endian, values little-endian with a version byte first. B is
// the 8-byte bucket id, K the raw key, E(K) the key with 00 written as 00 FF
// and ended by 00 01 (which keeps the order), ~s an inverted 8-byte sequence.
//
//	01 name                    one row per name of the group's own state (see stateRow)
//	02 n nodeID(4)             storage node
//	02 g groupID(2)            storage group
//	02 p B class               placement policy; bucket 0 for all buckets, no class for all classes
//	04 name                    bucket name: bucket id
//	05 B section               bucket core ("core")
//	06 B                       usage counters
//	10 B K                     current live object (objectRow)
//	11 B E(K) ~seq             noncurrent versions and delete markers (objectRow)
//	12 B E(K)                  seq of the null version when it lives in 11
//	13 B E(K) seq 01 end(8)    extents beyond the first 8, by the offset where the piece ends
//	13 B E(K) seq 02 last(4)   parts of a multipart object, by the last part's number
//	14 B E(K) seq              inline bytes
//	20 B E(K) upload(12)       open upload
//	21 B E(K) upload(12) n(4)  part
//	22 B E(K) upload(12)       state of an upload: part changes while open, then its outcome
//	30 seq n(4)                garbage, in commit order
//	31                         reserved: outbox to other homes
//	40 raftIndex sub(4)        change log
//	41 consumer                cursor of a reader of the change log
//	50 B E(K) reqID(16)        remembered result of a request
//	51 raftIndex reqID(16)     trim list of 50
//	60 blobID(16)              blob
//	61 blobID(16) B seq        holder of a shared blob
//	70 jobID                   state of a long job
//
// # Order and time
//
// Every change of an object takes the next value of a hybrid sequence: 44 bits
// of milliseconds and 20 bits of counter. Its time is the proposer's stamp,
// bounded by destructive time (row 01 'now'), which moves only by RaiseTime.
// So Modified is the sequence's time, version ids and upload ids order as text
// as they order in time, and a clock that jumps moves neither far.
//
// # Holders
//
// What refers to a blob is a holder: a bucket and a sequence, either that of
// the version or that of the multipart upload it came from. A blob has one
// owner, or is shared and has a row 61 for each holder. The batch that takes
// the last one away sets the blob dying and writes its garbage row. A dying
// blob takes no reference and no map switch and never lives again.
package catalog
