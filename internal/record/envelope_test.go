package record_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"

	"github.com/gatherq/gatherq/internal/record"
)

// rows is a JSON array of that many bytes at least, as an application might write it.
func rows(n int) []byte {
	var b bytes.Buffer
	b.WriteByte('[')
	for i := 0; b.Len() < n-1; i++ {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"id":%d,"name":"customer %x","tags":["a","b"],"score":%d.25}`, i*7919, i*104729, i%97)
	}
	b.WriteByte(']')
	return b.Bytes()
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

// stated is a compressed envelope that says so many bytes and holds frames.
func stated(n uint64, frames ...[]byte) []byte {
	return append(binary.AppendUvarint([]byte{byte(record.Zstd)}, n), bytes.Join(frames, nil)...)
}

// frame is data in one zstd frame, as any writer may make it.
func frame(t testing.TB, data []byte, opts ...zstd.EOption) []byte {
	t.Helper()
	e, err := zstd.NewWriter(nil, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return e.EncodeAll(data, nil)
}

// streamed is n zeros in a frame that does not say how many.
func streamed(t testing.TB, n int) []byte {
	t.Helper()
	var b bytes.Buffer
	e, err := zstd.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	zeros := make([]byte, 1<<20)
	for ; n > 0; n -= len(zeros) {
		_, _ = e.Write(zeros[:min(n, len(zeros))])
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestValuesAreCompressedWhereThatIsSmaller(t *testing.T) {
	text := func(n int) []byte { return rows(n)[:n] }
	for _, c := range []struct {
		name string
		data []byte
		want record.Envelope
	}{
		{"nothing", nil, record.Plain},
		{"small", []byte(`{"a":1}`), record.Plain},
		{"a byte under the threshold", text(record.CompressFrom - 1), record.Plain},
		{"the threshold", text(record.CompressFrom), record.Zstd},
		{"the limit", text(record.MaxValue), record.Zstd},
		{"over the limit", text(record.MaxValue + 1), record.Plain},
		{"base64", []byte(base64.StdEncoding.EncodeToString(random(4096))), record.Zstd},
		{"one character", bytes.Repeat([]byte{'x'}, record.MaxValue), record.Zstd},
		{"random at the threshold", random(record.CompressFrom), record.Plain},
		{"random", random(200 << 10), record.Plain},
		{"random at the limit", random(record.MaxValue), record.Plain},
		{"compressed already", frame(t, rows(900<<10)), record.Plain},
	} {
		b := record.Wrap(c.data)
		if record.Envelope(b[0]) != c.want {
			t.Errorf("%s: %d bytes in envelope %d, want %d", c.name, len(c.data), b[0], c.want)
		}
		if c.want == record.Plain && len(b) != len(c.data)+1 || c.want == record.Zstd && len(b) > len(c.data) {
			t.Errorf("%s: %d bytes became %d", c.name, len(c.data), len(b))
		}
		if got, err := record.Unwrap(b); err != nil || !bytes.Equal(got, c.data) {
			t.Errorf("%s: %d bytes came back as %d, %v", c.name, len(c.data), len(got), err)
		}
	}
	if plain, small := rows(200<<10), record.Wrap(rows(200<<10)); len(small) > len(plain)/2 {
		t.Errorf("%d bytes of JSON became %d", len(plain), len(small))
	}
}

func TestEnvelopeRoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var data []byte
		n := rapid.OneOf(rapid.IntRange(0, 300), rapid.IntRange(record.CompressFrom-50, record.CompressFrom+50), rapid.IntRange(0, 300<<10)).Draw(rt, "bytes")
		switch rapid.IntRange(0, 3).Draw(rt, "kind") {
		case 0:
			data = random(n)
		case 1:
			data = rows(n)
		case 2:
			data = bytes.Repeat(rapid.SliceOfN(rapid.Byte(), 1, 40).Draw(rt, "part"), n/20+1)
		default: // some of each
			data = append(append(rows(n/3), random(n/3)...), bytes.Repeat([]byte{'0'}, n/3)...)
		}
		before := bytes.Clone(data)
		b := record.Wrap(data)
		clear(data) // the caller's to change again
		if len(b) > len(before)+1 || !record.Knows(b) {
			rt.Fatalf("%d bytes became %d in envelope %d", len(before), len(b), b[0])
		}
		if got, err := record.Unwrap(b); err != nil || !bytes.Equal(got, before) {
			rt.Fatalf("%d bytes came back as %d, %v", len(before), len(got), err)
		}
		prefix := rapid.SliceOf(rapid.Byte()).Draw(rt, "prefix")
		got, err := record.AppendUnwrapped(bytes.Clone(prefix), b)
		if err != nil || !bytes.Equal(got, append(prefix, before...)) {
			rt.Fatalf("appended to %d bytes: %d, %v", len(prefix), len(got), err)
		}
	})
}

// What stands in records of earlier versions is read as ever, and without a copy.
func TestPlainValuesStayReadable(t *testing.T) {
	for _, data := range []string{"", "1", strings.Repeat("[1,2],", 100_000)} {
		b := append([]byte{0}, data...)
		got, err := record.Unwrap(b)
		if err != nil || string(got) != data {
			t.Fatalf("%d bytes: %d, %v", len(data), len(got), err)
		}
		if len(data) > 0 && &got[0] != &b[1] {
			t.Error("it was copied")
		}
	}
}

func TestSmallValuesCostNothingMore(t *testing.T) {
	data := []byte(`{"a":[1,2,3]}`)
	b := record.Wrap(data)
	buf := make([]byte, 0, 100)
	if n := testing.AllocsPerRun(100, func() { _, _ = record.Unwrap(b) }); n > 0 {
		t.Errorf("Unwrap: %v allocations", n)
	}
	if n := testing.AllocsPerRun(100, func() { _, _ = record.AppendUnwrapped(buf, b) }); n > 0 {
		t.Errorf("AppendUnwrapped: %v allocations", n)
	}
	if n := testing.AllocsPerRun(100, func() { b = record.Wrap(data) }); n > 1 {
		t.Errorf("Wrap: %v allocations, its copy is one", n)
	}
}

// Who wrote the record may have been anybody.
func TestBadEnvelopesAreErrors(t *testing.T) {
	data := rows(20 << 10)
	good := record.Wrap(data)
	whole := frame(t, data)
	n := uint64(len(data))
	const huge = 1 << 30
	bomb := streamed(t, huge)
	for _, c := range []struct {
		name string
		b    []byte
		want string
	}{
		{"empty", nil, "no envelope"},
		{"nothing behind it", []byte{1}, "cut off"},
		{"half a length", []byte{1, 0x80}, "cut off"},
		{"a length of more than 64 bits", append([]byte{1}, bytes.Repeat([]byte{0xff}, 11)...), "cut off"},
		{"no frame", stated(5), "holds 0"},
		{"no zstd", stated(5, []byte("hello")), "does not unpack"},
		{"one byte too few", stated(n-1, whole), "holds more"},
		{"one byte too many", stated(n+1, whole), fmt.Sprintf("holds %d", n)},
		{"states nothing", stated(0, whole), "holds more"},
		{"states 4 GiB", stated(4<<30, whole), "at most 1048576"},
		{"states one more than is read", stated(record.MaxValue+1, frame(t, make([]byte, record.MaxValue+1))), "at most 1048576"},
		{"a bomb that says so", stated(record.MaxValue, frame(t, make([]byte, 64<<20))), "holds more"},
		{"a bomb that does not", stated(record.MaxValue, bomb), "does not unpack"},
		{"a bomb that states little", stated(10, bomb), "holds more"},
		{"two frames", stated(n, whole, whole), "holds more"},
		{"a frame and its half", stated(2*n, whole, whole[:len(whole)/2]), "does not unpack"},
		{"a large window", stated(100, frame(t, make([]byte, 100), zstd.WithWindowSize(64<<20), zstd.WithSingleSegment(false))), ""},
	} {
		dst := []byte("before")
		var err error
		if used := allocated(func() { dst, err = record.AppendUnwrapped(dst, c.b) }); used > 3<<20 {
			t.Errorf("%s: %d bytes were allocated", c.name, used)
		}
		if c.want == "" {
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || errors.Is(err, record.ErrNewerEnvelope) || string(dst) != "before" {
			t.Errorf("%s: %v, with %d bytes; want %q", c.name, err, len(dst), c.want)
		}
	}
	for cut := range good {
		if got, err := record.Unwrap(good[:cut]); err == nil || len(got) > 0 {
			t.Fatalf("%d of %d bytes: %d, %v", cut, len(good), len(got), err)
		}
	}
	for newer := 2; newer < 256; newer++ {
		b := append([]byte{byte(newer)}, good[1:]...)
		if _, err := record.Unwrap(b); !errors.Is(err, record.ErrNewerEnvelope) || record.Knows(b) {
			t.Errorf("envelope %d: %v", newer, err)
		}
	}
}

// allocated returns how many bytes f allocates, when what is kept for the next call is there.
func allocated(f func()) uint64 {
	f()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func TestEnvelopesAreConcurrent(t *testing.T) {
	var all sync.WaitGroup
	for i := range 32 {
		data := rows(10<<10 + i*5000)
		all.Go(func() {
			for range 20 {
				if got, err := record.Unwrap(record.Wrap(data)); err != nil || !bytes.Equal(got, data) {
					t.Errorf("%d bytes: %d, %v", len(data), len(got), err)
				}
			}
		})
	}
	all.Wait()
}

func FuzzUnwrap(f *testing.F) {
	for _, b := range [][]byte{
		nil, {0}, {1}, {2, 3}, record.Wrap([]byte(`{"a":1}`)), record.Wrap(rows(3000)), record.Wrap(rows(200 << 10)),
		stated(4<<30, []byte("x")), stated(7, frame(f, []byte("1234567"))), stated(record.MaxValue, streamed(f, 8<<20)),
	} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		out, err := record.AppendUnwrapped([]byte("before"), b)
		if !bytes.HasPrefix(out, []byte("before")) || err != nil && len(out) != len("before") {
			t.Fatalf("%d bytes, %v", len(out), err)
		}
		if err != nil {
			return
		}
		data := out[len("before"):]
		if len(data) > max(record.MaxValue, len(b)) {
			t.Fatalf("%d bytes of %d", len(data), len(b))
		}
		if again, err := record.Unwrap(record.Wrap(data)); err != nil || !bytes.Equal(again, data) {
			t.Fatalf("%d bytes came back as %d, %v", len(data), len(again), err)
		}
	})
}

func BenchmarkEnvelope(b *testing.B) {
	for _, n := range []int{100, record.CompressFrom, 16 << 10, 200 << 10} {
		data := rows(n)
		if !json.Valid(data) {
			b.Fatal("no JSON")
		}
		wrapped := record.Wrap(data)
		b.Run(fmt.Sprintf("Wrap/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				record.Wrap(data)
			}
			b.ReportMetric(float64(len(wrapped)), "bytes")
		})
		b.Run(fmt.Sprintf("Unwrap/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = record.Unwrap(wrapped)
			}
		})
	}
}
