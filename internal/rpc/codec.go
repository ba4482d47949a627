package rpc

import (
	"fmt"

	"github.com/fxamacker/cbor/v2"
)

// codec encodes messages. Byte strings and text are told apart, but text need
// not be UTF-8: an object's key is any bytes.
type codec struct {
	enc cbor.EncMode
	dec cbor.DecMode
}

func newCodec() (*codec, error) {
	enc, err := cbor.EncOptions{}.EncMode()
	if err != nil {
		return nil, err
	}
	dec, err := cbor.DecOptions{
		UTF8: cbor.UTF8DecodeInvalid, DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden,
		TagsMd: cbor.TagsForbidden, MaxArrayElements: 1 << 20, MaxMapPairs: 1 << 20, MaxNestedLevels: 16,
	}.DecMode()
	if err != nil {
		return nil, err
	}
	return &codec{enc, dec}, nil
}

// Marshal implements encoding.Codec.
func (c *codec) Marshal(v any) ([]byte, error) { return c.enc.Marshal(v) }

// Unmarshal implements encoding.Codec.
func (c *codec) Unmarshal(data []byte, v any) error {
	if err := c.dec.Unmarshal(data, v); err != nil {
		return fmt.Errorf("decode %T: %w", v, err)
	}
	return nil
}

// Name implements encoding.Codec; it is the content subtype on the wire.
func (*codec) Name() string { return "holdfast-cbor-1" }
