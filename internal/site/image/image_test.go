package image

import (
	"bytes"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"understudy/internal/dr"
	"understudy/internal/site"
	"understudy/test/need"
)

var _ site.Driver = (*Driver)(nil)

const size = 8 << 20

// content is 8 MiB with data in its first and last MiB and zeros between.
func content(seed uint64) []byte {
	p := make([]byte, size)
	r := rand.NewChaCha8([32]byte{byte(seed)})
	r.Read(p[:1<<20])
	r.Read(p[7<<20:])
	return p
}

func writeRaw(t *testing.T, file string, p []byte) {
	t.Helper()
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(int64(len(p))); err != nil {
		t.Fatal(err)
	}
	for off := 0; off < len(p); off += 1 << 20 {
		part := p[off:min(off+1<<20, len(p))]
		if bytes.Count(part, []byte{0}) == len(part) {
			continue
		}
		if _, err := f.WriteAt(part, int64(off)); err != nil {
			t.Fatal(err)
		}
	}
}

func newSite(t *testing.T, now func() time.Time, files ...string) *Driver {
	t.Helper()
	d, err := New(Config{Machines: map[string][]string{"m": files}, Dir: t.TempDir(), Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func request(id, since string) site.CaptureRequest {
	return site.CaptureRequest{Group: "g", Machines: []string{"m"}, ID: id, Since: since}
}

func TestCaptureReadsEveryFormat(t *testing.T) {
	need.Tool(t, "qemu-img", "qemu-nbd")
	want := content(1)
	raw := filepath.Join(t.TempDir(), "disk.raw")
	writeRaw(t, raw, want)
	for ext, format := range formats {
		t.Run(ext, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "disk"+ext)
			args := []string{"convert", "-f", "raw", "-O", format}
			if format == "vpc" {
				args = append(args, "-o", "force_size=on")
			}
			if out, err := exec.Command("qemu-img", append(args, raw, file)...).CombinedOutput(); err != nil {
				t.Fatalf("qemu-img: %s", out)
			}
			c, err := newSite(t, time.Now, file).Capture(t.Context(), request("a", ""))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Abort(t.Context())
			d := c.Disks()[0]
			if d.ID() != (dr.DiskID{Machine: "m", Disk: "disk"}) || d.Size() != size {
				t.Fatalf("disk %v of %d bytes", d.ID(), d.Size())
			}
			ch, err := d.Changes(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			checkChanges(t, d, ch, want)
		})
	}
}

// checkChanges reads a first capture and compares it, zeros included.
func checkChanges(t *testing.T, d site.CapturedDisk, ch site.Changes, want []byte) {
	t.Helper()
	if !ch.Full || ch.Reason != "first capture" {
		t.Fatalf("full %v, reason %q", ch.Full, ch.Reason)
	}
	got := make([]byte, len(want))
	pos := int64(0)
	for _, e := range ch.Extents {
		if e.Offset != pos {
			t.Fatalf("extent at %d, want %d", e.Offset, pos)
		}
		pos = e.End()
		if e.Zero {
			continue
		}
		if _, err := d.ReadAt(got[e.Offset:e.End()], e.Offset); err != nil && err != io.EOF {
			t.Fatal(err)
		}
	}
	if pos != int64(len(want)) || !bytes.Equal(got, want) {
		t.Fatalf("the content differs, or the extents end at %d", pos)
	}
}

func TestUntouchedFileHasNoChanges(t *testing.T) {
	file := filepath.Join(t.TempDir(), "disk.raw")
	writeRaw(t, file, content(1))
	clock := time.Now().Add(time.Minute) // the file was written long before the capture
	d := newSite(t, func() time.Time { return clock }, file)
	capture := func(id, since string) site.Changes {
		c, err := d.Capture(t.Context(), request(id, since))
		if err != nil {
			t.Fatal(err)
		}
		ch, err := c.Disks()[0].Changes(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		return ch
	}
	capture("a", "")
	if ch := capture("b", "a"); ch.Full || len(ch.Extents) > 0 {
		t.Errorf("untouched file reported %+v", ch)
	}
	if ch := capture("c", "other"); !ch.Full {
		t.Error("changes since a capture that the site does not know of")
	}
	if err := os.Chtimes(file, clock, clock); err != nil {
		t.Fatal(err)
	}
	if ch := capture("d", "c"); !ch.Full || ch.Reason != "the file was touched" {
		t.Errorf("touched file reported %+v", ch)
	}
	clock = time.Now() // the touch is as recent as the next capture: its times prove nothing
	capture("e", "d")
	if ch := capture("f", "e"); !ch.Full {
		t.Error("a file written in the same instant as the capture counted as untouched")
	}
}

func TestFileWrittenDuringCaptureIsRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "disk.raw")
	writeRaw(t, file, content(1))
	c, err := newSite(t, time.Now, file).Capture(t.Context(), request("a", ""))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Abort(t.Context())
	if err := c.(site.Verifier).Verify(); err != nil {
		t.Fatal(err)
	}
	writeRaw(t, file, content(2))
	err = c.(site.Verifier).Verify()
	if err == nil || dr.Hint(err) == "" || !strings.Contains(err.Error(), "m/disk") {
		t.Fatalf("changed file: %v", err)
	}
}

func TestContentBesideTheFileIsWatched(t *testing.T) {
	need.Tool(t, "qemu-img")
	need.Tool(t, "qemu-nbd")
	for _, tc := range []struct{ name, file, data string }{
		{"backing file", "top.qcow2", "base.raw"},
		{"data file", "top.qcow2", "top.data"},
		{"flat extent", "top.vmdk", "top-flat.vmdk"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			file, data := filepath.Join(dir, tc.file), filepath.Join(dir, tc.data)
			args := []string{"create", "-q", "-f", "vmdk", "-o", "subformat=monolithicFlat", file, "8M"}
			switch tc.name {
			case "backing file":
				writeRaw(t, data, content(1))
				args = []string{"create", "-q", "-f", "qcow2", "-F", "raw", "-b", tc.data, file}
			case "data file":
				args = []string{"create", "-q", "-f", "qcow2", "-o", "data_file=" + data + ",data_file_raw=on", file, "8M"}
			}
			if out, err := exec.Command("qemu-img", args...).CombinedOutput(); err != nil {
				t.Fatalf("qemu-img: %v %s", err, out)
			}
			clock := time.Now().Add(time.Minute) // the files were written long before the capture
			d := newSite(t, func() time.Time { return clock }, file)
			capture := func(id, since string) site.Capture {
				c, err := d.Capture(t.Context(), request(id, since))
				if err != nil {
					t.Fatal(err)
				}
				return c
			}
			if err := capture("a", "").Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			c := capture("b", "a")
			defer c.Abort(t.Context())
			if ch, err := c.Disks()[0].Changes(t.Context()); err != nil || ch.Full {
				t.Fatalf("untouched files reported %+v, %v", ch, err)
			}
			writeRaw(t, data, content(2))
			if err := c.(site.Verifier).Verify(); err == nil || !strings.Contains(err.Error(), tc.data) {
				t.Errorf("%s changed while it was read: %v", tc.data, err)
			}
			after := capture("c", "a")
			defer after.Abort(t.Context())
			if ch, err := after.Disks()[0].Changes(t.Context()); err != nil || !ch.Full {
				t.Errorf("%s was written, and the capture reported %+v, %v", tc.data, ch, err)
			}
		})
	}
}

// A server that outlives its client would keep a machine from starting on the file.
func TestServerEndsWithItsClient(t *testing.T) {
	need.Tool(t, "qemu-img")
	need.Tool(t, "qemu-nbd")
	file := filepath.Join(t.TempDir(), "disk.qcow2")
	if out, err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", file, "8M").CombinedOutput(); err != nil {
		t.Fatalf("qemu-img: %v %s", err, out)
	}
	s, err := serve(t.Context(), dr.Disk{Name: "disk", Path: file, Format: "qcow2"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Client.Close(); err != nil { // as the system does for a process that is killed
		t.Fatal(err)
	}
	select {
	case <-s.ended:
	case <-time.After(20 * time.Second):
		t.Error("qemu-nbd runs on without a client")
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestBadFiles(t *testing.T) {
	need.Tool(t, "qemu-img")
	dir := t.TempDir()
	garbage := filepath.Join(dir, "bad.qcow2")
	if err := os.WriteFile(garbage, []byte("no image"), 0o600); err != nil {
		t.Fatal(err)
	}
	twin := filepath.Join(dir, "bad.raw")
	writeRaw(t, twin, make([]byte, 4096))
	writeRaw(t, filepath.Join(dir, "bad.img"), make([]byte, 4096))
	for name, tc := range map[string]struct {
		files []string
		kind  dr.Kind
	}{
		"missing":   {[]string{filepath.Join(dir, "none.raw")}, dr.KindNotFound},
		"folder":    {[]string{dir}, dr.KindInvalid},
		"garbage":   {[]string{garbage}, dr.KindInvalid},
		"same name": {[]string{twin, filepath.Join(dir, "bad.img")}, dr.KindInvalid},
	} {
		_, err := newSite(t, time.Now, tc.files...).Capture(t.Context(), request("a", ""))
		if err == nil || dr.KindOf(err) != tc.kind || dr.Hint(err) == "" {
			t.Errorf("%s: kind %q, hint %q: %v", name, dr.KindOf(err), dr.Hint(err), err)
		}
	}
}

// TestComparisonIsRemembered: a file that was written right before its capture is compared once more, not for ever.
func TestComparisonIsRemembered(t *testing.T) {
	file := filepath.Join(t.TempDir(), "disk.raw")
	writeRaw(t, file, content(1))
	clock := time.Now()
	d := newSite(t, func() time.Time { return clock }, file)
	touched := func(id string, end func(site.Capture)) bool {
		c, err := d.Capture(t.Context(), request(id, map[bool]string{true: "a"}[id != "a"]))
		if err != nil {
			t.Fatal(err)
		}
		ch, err := c.Disks()[0].Changes(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		end(c)
		return ch.Full
	}
	touched("a", func(c site.Capture) { c.Commit(t.Context()) })
	clock = clock.Add(time.Minute)
	compared := func(c site.Capture) {
		if err := c.(site.Comparer).Unchanged(); err != nil {
			t.Fatal(err)
		}
		c.Abort(t.Context())
	}
	if !touched("b", compared) {
		t.Fatal("a file written in the instant of its capture counted as untouched")
	}
	if touched("c", compared) {
		t.Error("the comparison was not remembered")
	}
}
