package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// Envelope is what stands before every stored argument and value: one byte that says how the rest is encoded. A reader refuses
// what it does not know.
type Envelope byte

// The envelopes.
const (
	Plain Envelope = 0 // the codec's own bytes (JSON), neither compressed nor sealed
	Zstd  Envelope = 1 // their number, as a varint, and one zstd frame of them
)

// MaxValue is how many bytes an argument or value may have, as its codec encodes it. Nothing is unpacked to more.
const MaxValue = 1 << 20

// CompressFrom is how many bytes an argument or value must have to be compressed (docs/adr/0006-values-are-compressed.md).
const CompressFrom = 2 << 10

// ErrNewerEnvelope is an envelope that only a newer gatherq knows.
var ErrNewerEnvelope = errors.New("its envelope is of a newer version of gatherq")

// window is how far back the compression looks: in JSON what repeats is near, and an encoder holds twice as much in memory.
const window = 128 << 10

// mostCodecs bounds the memory: an encoder holds up to 1 MiB, a decoder the last value that it read. Who finds all in use waits.
const mostCodecs = 4

// The codecs of the process: their own pools make them safe for concurrent use. They are made before anything else runs, since
// they hold channels, and one that is made in a bubble of testing/synctest is fatal in the next.
var (
	encoder = newEncoder()
	decoder = newDecoder()
	scratch = sync.Pool{New: func() any { return new([]byte) }}
)

func newEncoder() *zstd.Encoder {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(window), zstd.WithEncoderCRC(false),
		zstd.WithAllLitEntropyCompression(true), // numbers and base64 repeat nothing, and use few of the 256 bytes
		zstd.WithLowerEncoderMem(true), zstd.WithEncoderConcurrency(min(runtime.GOMAXPROCS(0), mostCodecs)))
	if err != nil {
		panic(err) // the options are constants
	}
	e.EncodeAll([]byte{0}, nil) // makes its pool
	return e
}

func newDecoder() *zstd.Decoder {
	d, err := zstd.NewReader(nil, zstd.WithDecodeAllCapLimit(true), // what does not fit is an error, not an allocation
		zstd.WithDecoderLowmem(true), zstd.WithDecoderConcurrency(min(runtime.GOMAXPROCS(0), mostCodecs)))
	if err != nil {
		panic(err) // the options are constants
	}
	return d
}

// Wrap puts the codec's bytes into an envelope, compressed where that is smaller. It copies them.
func Wrap(b []byte) []byte {
	if len(b) >= CompressFrom && len(b) <= MaxValue && !looksRandom(b) {
		if z := compressed(b); z != nil {
			return z
		}
	}
	return WrapPlain(b)
}

// AppendWrapped is Wrap behind what is in dst.
func AppendWrapped(dst, b []byte) []byte {
	if len(b) < CompressFrom {
		return append(append(dst, byte(Plain)), b...)
	}
	return append(dst, Wrap(b)...)
}

// WrapPlain is Wrap without compression, for what stays in memory.
func WrapPlain(b []byte) []byte {
	out := make([]byte, 1+len(b))
	out[0] = byte(Plain)
	copy(out[1:], b)
	return out
}

// compressed returns b compressed in its envelope; nil where that is not smaller than plain.
func compressed(b []byte) []byte {
	buf := scratch.Get().(*[]byte) //nolint:forcetypeassert // ours
	defer scratch.Put(buf)
	out := binary.AppendUvarint(append((*buf)[:0], byte(Zstd)), uint64(len(b)))
	out = encoder.EncodeAll(b, out)
	*buf = out
	if len(out) > len(b) {
		return nil
	}
	return append([]byte(nil), out...)
}

// looksRandom recognises by a sample what no compression makes smaller: text, in whatever script, uses part of the 256
// bytes, while of what is random or compressed already a thousand bytes hold nearly all.
func looksRandom(b []byte) bool {
	const sample, most = 1024, 224
	var seen [256]bool
	distinct := 0
	for i, step := 0, max(len(b)/sample, 1); i < len(b); i += step {
		if !seen[b[i]] {
			seen[b[i]] = true
			distinct++
		}
	}
	return distinct > most
}

// Knows reports whether b is in an envelope that Unwrap can open, as far as its first byte says.
func Knows(b []byte) bool { return len(b) > 0 && b[0] <= byte(Zstd) }

// Unwrap returns the codec's bytes. Plain ones are not copied. The error is ErrNewerEnvelope, or says what is wrong.
func Unwrap(b []byte) ([]byte, error) {
	if len(b) > 0 && b[0] == byte(Plain) {
		return b[1:], nil
	}
	return unpack(nil, b)
}

// AppendUnwrapped appends the codec's bytes to dst. The errors are Unwrap's; dst comes back as it was then.
func AppendUnwrapped(dst, b []byte) ([]byte, error) {
	if len(b) > 0 && b[0] == byte(Plain) {
		return append(dst, b[1:]...), nil
	}
	return unpack(dst, b)
}

// unpack appends what is compressed. It allocates what the envelope states and never more than MaxValue: who wrote the record may
// have been anybody.
func unpack(dst, b []byte) ([]byte, error) {
	switch {
	case len(b) == 0:
		return dst, errors.New("it has no envelope")
	case b[0] != byte(Zstd):
		return dst, ErrNewerEnvelope
	}
	stated, n := binary.Uvarint(b[1:])
	switch {
	case n <= 0:
		return dst, errors.New("its envelope is cut off")
	case stated > MaxValue:
		return dst, fmt.Errorf("its envelope states %d bytes, at most %d are read", stated, MaxValue)
	}
	size := int(stated)
	all := slices.Grow(dst, size)[:len(dst)+size]
	got, err := decoder.DecodeAll(b[1+n:], all[len(dst):len(dst):len(all)])
	switch {
	case errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return dst, fmt.Errorf("its envelope states %d bytes, it holds more", size)
	case err != nil:
		return dst, fmt.Errorf("its envelope does not unpack: %w", err)
	case len(got) != size:
		return dst, fmt.Errorf("its envelope states %d bytes, it holds %d", size, len(got))
	}
	return all, nil
}
