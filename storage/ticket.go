package storage

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
)

// ticketDomain keeps a ticket's signature from being taken for another use of
// the same key.
const ticketDomain = "holdfast ticket 1\n"

// Sign sets the ticket's MAC: HMAC-SHA256 under key over a domain string and
//
//	offset  length  field (little-endian)
//	0       16      blob
//	16      1       operation
//	17      8       expiry
//	25      2       number of nodes
//	27      8 each  node, epoch
func (t *Ticket) Sign(key []byte) { t.MAC = t.mac(key) }

// Signed reports whether the ticket bears a signature under one of the keys, in
// time that does not depend on the signature.
func (t *Ticket) Signed(keys ...[]byte) bool {
	signed := false
	for _, key := range keys {
		want := t.mac(key)
		signed = hmac.Equal(want[:], t.MAC[:]) || signed
	}
	return signed
}

func (t *Ticket) mac(key []byte) (sum [32]byte) {
	buf := t.appendSigned(append(make([]byte, 0, 320), ticketDomain...))
	h := hmac.New(sha256.New, key)
	h.Write(buf)
	h.Sum(sum[:0])
	return sum
}

// maxTicketNodes bounds the nodes of a ticket that is parsed.
const maxTicketNodes = 256

// AppendBinary appends the ticket as it travels: what Sign signs, and the MAC.
func (t *Ticket) AppendBinary(dst []byte) []byte { return append(t.appendSigned(dst), t.MAC[:]...) }

// ParseTicket reads what AppendBinary wrote. ErrTicket for anything else; it
// does not check the MAC.
func ParseTicket(b []byte) (*Ticket, error) {
	const fixed = 27
	if len(b) < fixed+len(Ticket{}.MAC) {
		return nil, ErrTicket
	}
	t := &Ticket{Blob: BlobID(b[:16]), Op: Operation(b[16]), Expiry: int64(binary.LittleEndian.Uint64(b[17:]))}
	n := int(binary.LittleEndian.Uint16(b[25:]))
	if n > maxTicketNodes || len(b) != fixed+8*n+len(t.MAC) {
		return nil, ErrTicket
	}
	for b = b[fixed:]; n > 0; n-- {
		t.Nodes = append(t.Nodes, Grantee{NodeID(binary.LittleEndian.Uint32(b)), binary.LittleEndian.Uint32(b[4:])})
		b = b[8:]
	}
	t.MAC = [32]byte(b)
	return t, nil
}

func (t *Ticket) appendSigned(buf []byte) []byte {
	buf = append(buf, t.Blob[:]...)
	buf = append(buf, byte(t.Op))
	buf = binary.LittleEndian.AppendUint64(buf, uint64(t.Expiry))
	buf = binary.LittleEndian.AppendUint16(buf, uint16(len(t.Nodes)))
	for _, g := range t.Nodes {
		buf = binary.LittleEndian.AppendUint32(buf, uint32(g.Node))
		buf = binary.LittleEndian.AppendUint32(buf, g.Epoch)
	}
	return buf
}
