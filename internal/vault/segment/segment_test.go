package segment

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"understudy/internal/dr"

	"github.com/zeebo/blake3"
)

var update = flag.Bool("update", false, "write the golden file")

func testCodec(t testing.TB) *Codec {
	t.Helper()
	c, err := NewCodec(2)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func testHeader() Header {
	chain := dr.Position{Epoch: 1, Sequence: 41}
	copy(chain.Chain[:], "0123456789abcdef")
	prev := NewPosition(chain)
	return Header{Format: Format, Object: ObjectSegment, Vault: "00112233aabbccdd", Group: "shop", Prev: &prev, To: Position{Epoch: 1, Sequence: 42},
		Capture: "feedface00000001", Time: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), Known: time.Date(2026, 3, 1, 12, 0, 5, 0, time.UTC),
		Kind: dr.CrashConsistent, Machines: []string{"db", "web"}, Size: 3 << 20, Salt: []byte("sixteen byte sal"), Key: []byte("wrapped")}
}

var (
	testKey = Key{1, 2, 3}
	dbData  = dr.DiskID{Machine: "db", Disk: "data"}
	webRoot = dr.DiskID{Machine: "web", Disk: "root"}
)

func text(n int) []byte {
	var b []byte
	for i := 0; len(b) < n; i++ {
		b = fmt.Appendf(b, "record %d follows record %d\n", i, i-1)
	}
	return b[:n]
}

func noise(n int) []byte {
	rng := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// sample writes a small segment: compressible and incompressible frames, zeros, a short last block, a block written twice.
func sample(t testing.TB) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := NewWriter(&out, WriterOptions{Header: testHeader(), Key: testKey, Codec: testCodec(t), Disks: []DiskSize{{webRoot, 1<<20 + 512}, {dbData, 2 << 20}}})
	if err != nil {
		t.Fatal(err)
	}
	steps := []error{
		w.Write(dbData, 64<<10, text(260<<10)),
		w.Zero(dbData, 1<<20, 512<<10),
		w.Write(webRoot, 0, noise(12<<10)),
		w.Write(webRoot, 1<<20, []byte(bytes.Repeat([]byte("x"), 512))),
		w.Write(webRoot, 4096, bytes.Repeat([]byte("again..."), 512)),
		w.Write(webRoot, 64<<10, make([]byte, 8192)),
	}
	for i, err := range steps {
		if err != nil {
			t.Fatal(i, err)
		}
	}
	if _, err := w.Finish(Finish{Description: []byte(`[{"name":"db"},{"name":"web"}]`)}); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// decode reads everything in an object, as a hostile one is read too.
func decode(c *Codec, b []byte) (map[dr.DiskID]map[uint64][]byte, error) {
	f, err := Open(bytes.NewReader(b), int64(len(b)), TailBytes)
	if err != nil {
		return nil, err
	}
	s := f.Sealer(testKey)
	x, err := f.Index(c, s)
	if err != nil {
		return nil, err
	}
	if _, err := f.Parts(); err != nil {
		return nil, err
	}
	if _, err := f.Description(c, s); err != nil {
		return nil, err
	}
	if err := f.Check(nil); err != nil {
		return nil, err
	}
	l := x.Locator()
	out := map[dr.DiskID]map[uint64][]byte{}
	for _, d := range x.Disks {
		out[d.ID] = map[uint64][]byte{}
		for _, r := range d.Runs {
			for i := range uint64(min(r.Count, 1000)) {
				cut := r.Cut(r.Block+i, r.Block+i+1)
				if r.Zero {
					out[d.ID][cut.Block] = make([]byte, BlockSize)
					continue
				}
				_, fr := l.Find(cut.Frame)
				sealed := make([]byte, fr.Stored)
				if err := readFull(bytes.NewReader(b), sealed, f.Trailer.HeaderLen+fr.Offset); err != nil {
					return nil, err
				}
				plain := make([]byte, fr.Blocks*BlockSize)
				if err := c.OpenFrame(s, fr, sealed, plain); err != nil {
					return nil, err
				}
				out[d.ID][cut.Block] = plain[int(cut.Offset)*BlockSize:][:BlockSize]
			}
		}
	}
	return out, nil
}

func TestGolden(t *testing.T) {
	got := sample(t)
	path := filepath.Join("testdata", "segment-1.golden")
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the format changed: %d bytes, want %d (a new format needs a new number and its own golden file)", len(got), len(want))
	}
	blocks, err := decode(testCodec(t), want)
	if err != nil {
		t.Fatal(err)
	}
	db := text(260 << 10)
	for i := range uint64(65) {
		if !bytes.Equal(blocks[dbData][16+i], db[i*BlockSize:(i+1)*BlockSize]) {
			t.Fatalf("block %d of %s differs", 16+i, dbData)
		}
	}
	if len(blocks[dbData]) != 65+128 || len(blocks[webRoot]) != 6 {
		t.Errorf("%d and %d blocks", len(blocks[dbData]), len(blocks[webRoot]))
	}
	if b := blocks[webRoot][1]; !bytes.HasPrefix(b, []byte("again...")) {
		t.Error("the later write of a block does not count")
	}
	if b := blocks[webRoot][256]; b[511] != 'x' || b[512] != 0 {
		t.Error("the short last block is not padded with zeros")
	}
}

func TestEveryFlippedByteIsFound(t *testing.T) {
	b := sample(t)
	c := testCodec(t)
	for i := 0; i < len(b); i += 1 + len(b)/600 {
		d := bytes.Clone(b)
		d[i] ^= 0x10
		if _, err := decode(c, d); dr.KindOf(err) != dr.KindCorrupt {
			t.Fatalf("byte %d of %d flipped: %v", i, len(b), err)
		}
	}
	for n := 0; n < len(b); n += 1 + len(b)/300 {
		if _, err := decode(c, b[:n]); dr.KindOf(err) != dr.KindCorrupt {
			t.Fatalf("truncated to %d of %d: %v", n, len(b), err)
		}
	}
}

func TestFlatten(t *testing.T) {
	for seed := range uint64(500) {
		rng := rand.New(rand.NewPCG(seed, 3))
		const size = 200
		var model [size]Run
		var layers [][]Run
		for l := range 1 + rng.IntN(6) {
			var runs []Run
			for at := uint64(rng.IntN(20)); at < size; at += uint64(rng.IntN(20)) {
				n := min(uint64(1+rng.IntN(30)), size-at)
				r := Run{Block: at, Count: uint32(n), Zero: rng.IntN(3) == 0, Layer: uint16(l)}
				if !r.Zero {
					r.Frame, r.Offset = uint32(rng.IntN(50)), uint8(rng.IntN(FrameBlocks))
				}
				runs = append(runs, r)
				for b := range n {
					model[at+b] = r.Cut(at+b, at+b+1)
				}
				at += n
			}
			layers = append(layers, runs)
		}
		var got [size]Run
		var end uint64
		for _, r := range Flatten(layers) {
			if r.Block < end || r.Count == 0 {
				t.Fatalf("seed %d: runs overlap", seed)
			}
			end = r.End()
			for b := range uint64(r.Count) {
				got[r.Block+b] = r.Cut(r.Block+b, r.Block+b+1)
			}
		}
		if got != model {
			t.Fatalf("seed %d: differs", seed)
		}
		cut := uint64(rng.IntN(size))
		for _, r := range Clip(slices.Clone(Flatten(layers)), cut) {
			if r.End() > cut || r.Count == 0 {
				t.Fatalf("seed %d: clip left %+v", seed, r)
			}
		}
	}
}

func TestIndexRoundTrip(t *testing.T) {
	x := &Index{
		Parts: []PartFrames{{Part: 1, Frames: []uint32{frameWord(100, 64, Zstd), frameWord(5000, 3, Raw)}}, {Part: 4}, {Part: 7, Frames: []uint32{frameWord(40, 1, Snappy)}}},
		Disks: []DiskRuns{
			{ID: dbData, Size: 1 << 30, Runs: []Run{{Block: 5, Count: 66, Frame: 0, Offset: 1}, {Block: 100, Count: 1 << 17, Zero: true}}},
			{ID: webRoot, Size: 5000, Runs: []Run{{Block: 1, Count: 1, Frame: 2}}},
		},
	}
	got, err := DecodeIndex(x.Encode())
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(got) != fmt.Sprint(x) {
		t.Errorf("got %v\nwant %v", got, x)
	}
	l := got.Locator()
	for n, want := range []struct {
		part int
		off  int64
	}{{0, 0}, {0, 100}, {2, 0}} {
		if part, f := l.Find(uint32(n)); part != want.part || f.Offset != want.off {
			t.Errorf("frame %d: part %d, offset %d", n, part, f.Offset)
		}
	}
	for name, bad := range map[string]Run{
		"no such frame":     {Block: 200, Count: 1, Frame: 3},
		"beyond its frames": {Block: 200, Count: 3, Frame: 1, Offset: 1},
		"beyond the disk":   {Block: 1 << 18, Count: 1, Zero: true},
	} {
		y := &Index{Parts: x.Parts, Disks: []DiskRuns{{ID: dbData, Size: 1 << 30, Runs: []Run{bad}}}}
		if _, err := DecodeIndex(y.Encode()); dr.KindOf(err) != dr.KindCorrupt {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWriterRefuses(t *testing.T) {
	w, err := NewWriter(io.Discard, WriterOptions{Header: testHeader(), Key: testKey, Codec: testCodec(t), Disks: []DiskSize{{dbData, 10000}}})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	for name, err := range map[string]error{
		"other disk":     w.Write(webRoot, 0, make([]byte, 4096)),
		"odd offset":     w.Write(dbData, 100, make([]byte, 4096)),
		"odd length":     w.Write(dbData, 0, make([]byte, 100)),
		"beyond the end": w.Write(dbData, 8192, make([]byte, 4096)),
		"negative":       w.Zero(dbData, -4096, 4096),
		"huge":           w.Zero(dbData, 4096, 1<<62),
	} {
		if dr.KindOf(err) != dr.KindInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := w.Write(dbData, 8192, make([]byte, 10000-8192)); err != nil {
		t.Errorf("short last block: %v", err)
	}
}

func TestWriterReportsFailure(t *testing.T) {
	w, err := NewWriter(&limited{n: 100 << 10}, WriterOptions{Header: testHeader(), Key: testKey, Codec: testCodec(t), Disks: []DiskSize{{dbData, 1 << 30}}})
	if err != nil {
		t.Fatal(err)
	}
	data := noise(FrameSize)
	for i := range int64(100) {
		if err = w.Write(dbData, i*FrameSize, data); err != nil {
			break
		}
	}
	if err == nil {
		t.Error("writing beyond the failure goes on")
	}
	if _, err := w.Finish(Finish{}); err == nil {
		t.Error("finish hides the failure")
	}
}

type limited struct{ n int }

func (l *limited) Write(p []byte) (int, error) {
	if l.n -= len(p); l.n < 0 {
		return 0, io.ErrShortWrite
	}
	return len(p), nil
}

func FuzzHeader(f *testing.F) {
	h := testHeader()
	b, err := EncodeHeader(&h)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := DecodeHeader(b)
		if err == nil {
			if _, err := EncodeHeader(h); err != nil {
				t.Fatal(err)
			}
			_, _ = h.To.Value()
		} else if dr.KindOf(err) != dr.KindCorrupt {
			t.Fatal(err)
		}
	})
}

func FuzzTrailer(f *testing.F) {
	b := sample(f)
	f.Add(b[len(b)-TrailerSize:], int64(len(b)))
	f.Fuzz(func(t *testing.T, b []byte, size int64) {
		tr, err := DecodeTrailer(b, size)
		if err == nil && !bytes.Equal(tr.Encode()[:12], b[:12]) {
			t.Fatal("another trailer")
		}
		// Behind the digest is more to decode.
		if len(b) == TrailerSize {
			tr := new(Trailer)
			b = append([]byte(nil), b...)
			sum := tr.Encode()
			copy(b, sum[:16])
			fixDigest(b)
			if tr, err := DecodeTrailer(b, size); err == nil && tr.Size != size {
				t.Fatal("wrong size accepted")
			}
		}
	})
}

func FuzzIndex(f *testing.F) {
	x := &Index{Parts: []PartFrames{{Frames: []uint32{frameWord(100, 64, Zstd), frameWord(99, 2, Snappy)}}},
		Disks: []DiskRuns{{ID: dbData, Size: 1 << 20, Runs: []Run{{Block: 1, Count: 65}, {Block: 70, Count: 3, Zero: true}}}}}
	f.Add(x.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := DecodeIndex(b)
		if err != nil {
			if dr.KindOf(err) != dr.KindCorrupt {
				t.Fatal(err)
			}
			return
		}
		y, err := DecodeIndex(x.Encode())
		if err != nil || fmt.Sprint(x) != fmt.Sprint(y) {
			t.Fatal("does not survive a round trip", err)
		}
		l := x.Locator()
		for _, d := range x.Disks {
			for _, r := range d.Runs {
				if !r.Zero {
					l.Find(r.Frame)
					l.Find(r.Cut(r.End()-1, r.End()).Frame)
				}
			}
		}
	})
}

func TestFrameCodings(t *testing.T) {
	c := testCodec(t)
	s := NewSealer(testKey, Digest{9}, 3)
	noise := make([]byte, FrameSize)
	rand.NewChaCha8([32]byte{1}).Read(noise)
	for _, tc := range []struct {
		name  string
		plain []byte
		fast  bool
		want  Coding
	}{
		{"text, time to spare", text(FrameSize), false, Zstd},
		{"text, in haste", text(FrameSize), true, Snappy},
		{"noise, time to spare", noise, false, Raw},
		{"noise, in haste", noise, true, Raw},
	} {
		sealed, coding := c.sealFrame(s, new(sealedBuffer), tc.plain, 1, tc.fast)
		if coding != tc.want {
			t.Errorf("%s: coding %d, want %d", tc.name, coding, tc.want)
		}
		word := frameWord(len(sealed), len(tc.plain)/BlockSize, coding)
		if n, blocks, back := frameOf(word); n != len(sealed) || blocks != len(tc.plain)/BlockSize || back != coding {
			t.Errorf("%s: the frame's word says %d, %d, %d", tc.name, n, blocks, back)
		}
		got := make([]byte, len(tc.plain))
		if err := c.OpenFrame(s, Frame{Number: 1, Stored: len(sealed), Blocks: len(tc.plain) / BlockSize, Coding: coding}, sealed, got); err != nil {
			t.Errorf("%s: %v", tc.name, err)
		}
		if !bytes.Equal(got, tc.plain) {
			t.Errorf("%s: the frame came back different", tc.name)
		}
	}
}

func FuzzFrame(f *testing.F) {
	c := testCodec(f)
	s := NewSealer(testKey, Digest{9}, 3)
	buf := new(sealedBuffer)
	for _, fast := range []bool{false, true} {
		sealed, coding := c.sealFrame(s, buf, text(3*BlockSize), 7, fast)
		f.Add(bytes.Clone(sealed), bytes.Clone(text(3*BlockSize)), uint64(7), uint8(3), uint8(coding))
	}
	f.Fuzz(func(t *testing.T, sealed, plain []byte, number uint64, blocks, coding uint8) {
		fr := Frame{Number: number, Stored: len(sealed), Blocks: int(blocks), Coding: Coding(coding % 3)}
		dst := make([]byte, int(blocks)*BlockSize)
		_ = c.OpenFrame(s, fr, bytes.Clone(sealed), dst)
		// Behind the seal is a decompressor: give it anything.
		_ = c.OpenFrame(s, fr, s.seal(bytes.Clone(plain), number), dst)
		if b, err := c.openSection(s, s.seal(bytes.Clone(plain), number), number); err == nil && len(b) > maxRatio*(len(plain)+1) {
			t.Fatal("section expanded too far")
		}
	})
}

func FuzzFile(f *testing.F) {
	c := testCodec(f)
	f.Add(sample(f), 0, byte(0))
	f.Fuzz(func(t *testing.T, b []byte, at int, x byte) {
		b = bytes.Clone(b)
		if len(b) > 0 {
			b[(at%len(b)+len(b))%len(b)] ^= x
		}
		if _, err := decode(c, b); err != nil && dr.KindOf(err) != dr.KindCorrupt {
			t.Fatal(err)
		}
		// Mend the digest of the trailer, so that what it says is believed.
		if len(b) >= TrailerSize {
			fixDigest(b[len(b)-TrailerSize:])
			if _, err := decode(c, b); err != nil && dr.KindOf(err) != dr.KindCorrupt {
				t.Fatal(err)
			}
		}
	})
}

func fixDigest(trailer []byte) {
	sum := blake3.Sum256(trailer[:TrailerSize-32])
	copy(trailer[TrailerSize-32:], sum[:])
}
