package export

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"understudy/internal/dr"
)

// disk is a disk in memory that knows which of its 64 KiB are zeros, and may fail to read.
type disk struct {
	data []byte
	bad  int64 // offset that cannot be read; -1: none
}

func (d *disk) Size() int64 { return int64(len(d.data)) }

func (d *disk) ReadAt(p []byte, off int64) (int, error) {
	if d.bad >= off && d.bad < off+int64(len(p)) {
		return 0, dr.WithHint(errors.New("checksum mismatch"), dr.KindCorrupt, "")
	}
	return copy(p, d.data[off:]), nil
}

func (d *disk) Extents(off, n int64) []dr.Extent {
	var list []dr.Extent
	for end := off + n; off < end; {
		l := min(hole-off%hole, end-off)
		list = append(list, dr.Extent{Offset: off, Length: l, Zero: isZero(d.data[off : off+l])})
		off += l
	}
	return list
}

// newDisk makes a disk of an odd size with data here and there.
func newDisk() *disk {
	d := &disk{data: make([]byte, 21<<20+1234), bad: -1}
	r := rand.New(rand.NewPCG(1, 2))
	for range 40 {
		at := r.IntN(len(d.data))
		d.data[at] = 1
	}
	d.data[len(d.data)-1] = 9
	return d
}

func TestRaw(t *testing.T) {
	d := newDisk()
	file := filepath.Join(t.TempDir(), "out.raw")
	last, all := int64(-1), int64(0)
	res, err := Write(t.Context(), Request{Source: d, Format: Raw, File: file, Progress: func(done, total int64) {
		if done < last || done > total || total > d.Size() || all != 0 && total != all {
			t.Errorf("progress went from %d to %d of %d", last, done, total)
		}
		last, all = done, total
	}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(got, d.data) {
		t.Fatalf("the file differs, %v", err)
	}
	if res.Bytes > d.Size()/2 {
		t.Errorf("the file takes %d bytes of %d: no holes", res.Bytes, d.Size())
	}
	if last != all || all == 0 {
		t.Errorf("progress ended at %d of %d", last, all)
	}
}

// Nothing is left behind when a disk cannot be read or the user gives up, and what was there stays.
func TestAtomic(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "out.raw")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := newDisk()
	if _, err := Write(t.Context(), Request{Source: d, Format: Raw, File: file}); dr.KindOf(err) != dr.KindConflict {
		t.Errorf("replaced without being told to: %v", err)
	}
	for d.bad = range d.Size() {
		if !isZero(d.data[d.bad : d.bad+1]) {
			break
		}
	}
	if _, err := Write(t.Context(), Request{Source: d, Format: Raw, File: file, Force: true}); dr.KindOf(err) != dr.KindCorrupt {
		t.Errorf("read error: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Write(ctx, Request{Source: newDisk(), Format: Raw, File: file, Force: true}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v %v", entries, err)
	}
	if data, err := os.ReadFile(file); err != nil || string(data) != "precious" {
		t.Errorf("the file that was there: %q %v", data, err)
	}
}

func TestParseFormat(t *testing.T) {
	for _, tt := range []struct {
		name, file string
		want       Format
	}{
		{"", "a.raw", Raw}, {"", "a.img", Raw}, {"", "a", Raw}, {"", "A.VHD", VHD}, {"", "a.qcow2", QCOW2}, {"vhdx", "a.raw", VHDX}, {"", "a.iso", ""}, {"zip", "a", ""},
	} {
		got, err := ParseFormat(tt.name, tt.file)
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%q %q: %q, %v", tt.name, tt.file, got, err)
		}
	}
}
