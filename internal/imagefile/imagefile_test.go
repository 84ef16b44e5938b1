package imagefile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"understudy/internal/dr"
	"understudy/test/need"
)

// disk is a sparse disk in memory: what is not in data is zero and known to be.
type disk struct {
	size int64
	data map[int64][]byte // by offset, in multiples of 4 KiB
}

func (d disk) Size() int64 { return d.size }

func (d disk) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	n := int(min(int64(len(p)), d.size-off))
	for at, b := range d.data {
		from, to := max(at, off), min(at+int64(len(b)), off+int64(n))
		if from < to {
			copy(p[from-off:to-off], b[from-at:to-at])
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (d disk) Extents(off, n int64) (list []dr.Extent) {
	for at := off; at < off+n; at += 4096 {
		length := min(4096, off+n-at)
		_, there := d.data[at]
		if k := len(list); k > 0 && list[k-1].Zero == !there {
			list[k-1].Length += length
		} else {
			list = append(list, dr.Extent{Offset: at, Length: length, Zero: !there})
		}
	}
	return list
}

// made makes a disk whose blocks at offsets hold random bytes.
func made(r *rand.Rand, size int64, at ...int64) disk {
	d := disk{size, map[int64][]byte{}}
	for _, off := range at {
		b := make([]byte, min(4096, size-off))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		d.data[off] = b
	}
	return d
}

// QEMU finds no fault in the files, and the disk's bytes in them. Reading them in pieces gives what reading them whole does.
func TestFormats(t *testing.T) {
	need.Tool(t, "qemu-img")
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	scattered := func(size int64, n int) disk {
		var at []int64
		for range n {
			at = append(at, r.Int64N((size+4095)/4096)*4096)
		}
		return made(r, size, at...)
	}
	disks := map[string]disk{
		"empty":     made(r, 1<<20),
		"one":       made(r, 1<<20, 0),
		"end":       made(r, 5<<20+1536, 5<<20),
		"full":      scattered(256<<10, 4000),
		"scattered": scattered(1<<30, 300),
		"borders":   made(r, 1<<30, 60<<10, 64<<10, 512<<20-4096, 512<<20, 2<<20-4096, 2<<20, 1<<30-4096),
	}
	for name, d := range disks {
		for format, driver := range map[Format]string{Raw: "raw", QCOW2: "qcow2", VHD: "vpc"} {
			if format == Raw && d.size > 64<<20 { // written in full; small ones show as much
				continue
			}
			t.Run(fmt.Sprintf("%s %s", name, format), func(t *testing.T) {
				f, err := New(d, format, "a")
				if err != nil {
					t.Fatal(err)
				}
				dir := t.TempDir()
				file, plain := filepath.Join(dir, "image"), filepath.Join(dir, "plain")
				whole := write(t, file, f)
				pieces(t, r, f, whole)
				writeSparse(t, plain, d)
				qemu(t, "qemu-img", "compare", "-f", driver, "-F", "raw", file, plain)
				if format == QCOW2 {
					qemu(t, "qemu-img", "check", "-f", driver, file)
				}
				var info struct {
					Size int64 `json:"virtual-size"`
				}
				if err := json.Unmarshal(qemu(t, "qemu-img", "info", "-f", driver, "--output=json", file), &info); err != nil {
					t.Fatal(err)
				}
				if want := roundUp(d.size, Sector); info.Size != want {
					t.Errorf("virtual size %d, want %d", info.Size, want)
				}
			})
		}
	}
}

func write(t *testing.T, file string, f *File) []byte {
	t.Helper()
	b, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size()+1))
	if err != nil || int64(len(b)) != f.Size() {
		t.Fatalf("%d bytes of %d: %v", len(b), f.Size(), err)
	}
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return b
}

// writeSparse writes the disk as it is, in whole sectors.
func writeSparse(t *testing.T, file string, d disk) {
	t.Helper()
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(roundUp(d.size, Sector)); err != nil {
		t.Fatal(err)
	}
	for at, b := range d.data {
		if _, err := f.WriteAt(b, at); err != nil {
			t.Fatal(err)
		}
	}
}

func pieces(t *testing.T, r *rand.Rand, f *File, whole []byte) {
	t.Helper()
	for range 200 {
		off := r.Int64N(f.Size())
		p := make([]byte, 1+r.IntN(200_000))
		n, err := f.ReadAt(p, off)
		if want := whole[off:min(off+int64(len(p)), f.Size())]; !bytes.Equal(p[:n], want) || (n < len(p)) != (err == io.EOF) {
			t.Fatalf("%d bytes at %d: %d, %v", len(p), off, n, err)
		}
	}
}

// A file of the same disk has the same layout, and one of a disk that lies otherwise has another.
func TestLayout(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	layout := func(d disk, format Format) string {
		f, err := New(d, format, "a")
		if err != nil {
			t.Fatal(err)
		}
		return f.Layout()
	}
	a, b := made(r, 1<<20, 0), made(r, 1<<20, 4096)
	if once, again := layout(a, QCOW2), layout(a, QCOW2); once != again || once == layout(b, QCOW2) || once == layout(a, VHD) || layout(a, Raw) != layout(b, Raw) {
		t.Error("layouts do not tell files apart")
	}
}

// Two disks of one size are two disks.
func TestIdentity(t *testing.T) {
	d := made(rand.New(rand.NewPCG(1, 1)), 1<<20, 0)
	footer := func(name string) []byte {
		f, err := New(d, VHD, name)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, Sector)
		if _, err := f.ReadAt(b, f.Size()-Sector); err != nil {
			t.Fatal(err)
		}
		return b
	}
	if a := footer("a"); !bytes.Equal(a, footer("a")) || bytes.Equal(a[68:84], footer("b")[68:84]) {
		t.Error("the identity of a file is not its own")
	}
}

func TestRefused(t *testing.T) {
	if _, err := New(disk{size: vhdMost + 1<<30}, VHD, "a"); dr.KindOf(err) != dr.KindInvalid {
		t.Error(err)
	}
	if _, err := ParseFormat("iso"); dr.KindOf(err) != dr.KindInvalid {
		t.Error(err)
	}
	broken := disk{size: 8192, data: map[int64][]byte{0: make([]byte, 4096)}}
	f, err := New(short{broken}, Raw, "a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.ReadAt(make([]byte, 8192), 0); err != io.ErrUnexpectedEOF {
		t.Error(err)
	}
}

// short ends before its size.
type short struct{ disk }

func (s short) ReadAt([]byte, int64) (int, error) { return 10, io.EOF }

func qemu(t *testing.T, name string, args ...string) []byte {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return out
}

// A fixed VHD is its content and a footer: what Azure takes as an upload.
func TestFixedVHD(t *testing.T) {
	need.Tool(t, "qemu-img")
	content := make([]byte, 3<<20)
	content[5000] = 1
	dir := t.TempDir()
	file, plain := filepath.Join(dir, "image"), filepath.Join(dir, "plain")
	for name, b := range map[string][]byte{plain: content, file: append(bytes.Clone(content), FixedVHDFooter(int64(len(content)), "disk")...)} {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	qemu(t, "qemu-img", "compare", "-f", "vpc", "-F", "raw", file, plain)
	if bytes.Equal(FixedVHDFooter(1<<20, "one"), FixedVHDFooter(1<<20, "two")) {
		t.Error("two disks have one identity")
	}
}
