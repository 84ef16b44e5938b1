package ext4

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"understudy/test/need"
)

// image makes a file system of a folder.
func image(t testing.TB, dir string, options ...string) []byte {
	need.Tool(t, "mke2fs")
	file := filepath.Join(t.TempDir(), "image")
	args := append(append([]string{"-q", "-F", "-E", "root_owner=0:0"}, options...), "-d", dir, file, "16M")
	if out, err := exec.Command("mke2fs", args...).CombinedOutput(); err != nil {
		t.Fatalf("mke2fs: %v\n%s", err, out)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func folder(t testing.TB) (dir string, big []byte) {
	dir = t.TempDir()
	for i := range 200000 {
		big = fmt.Appendf(big, "%d\n", i)
	}
	write := func(name string, data []byte) {
		name = filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, data, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	write("etc/fstab", []byte("UUID=1 / ext4\n"))
	write("boot/big", big)
	write("usr/lib/deep/er/file", []byte("deep"))
	for i := range 700 {
		write(fmt.Sprintf("usr/lib/many/a-name-that-is-rather-long-%d", i), nil)
	}
	sparse := make([]byte, 3<<20)
	copy(sparse[2<<20:], "end")
	write("sparse", sparse)
	for from, to := range map[string]string{"lib": "usr/lib", "etc/deep": "../lib/deep/er", "abs": "/etc/deep/file", "loop": "loop", "out": "../../../etc/fstab",
		"long": "usr/lib/../lib/../lib/../lib/../lib/../lib/../lib/../lib/../lib/deep/er/file"} {
		if err := os.Symlink(to, filepath.Join(dir, from)); err != nil {
			t.Fatal(err)
		}
	}
	return dir, big
}

// TestRead reads what mke2fs wrote, with the features that file systems of three decades have.
func TestRead(t *testing.T) {
	dir, big := folder(t)
	for _, options := range [][]string{{"-t", "ext4"}, {"-t", "ext4", "-b", "1024"}, {"-t", "ext4", "-O", "^metadata_csum,^64bit"}, {"-t", "ext4", "-O", "^has_journal"},
		{"-t", "ext3"}, {"-t", "ext2", "-b", "1024"}, {"-t", "ext4", "-I", "128"}, {"-t", "ext4", "-L", "root", "-U", "11111111-2222-3333-4444-555555555555"}} {
		t.Run(strings.Join(options, " "), func(t *testing.T) {
			data := image(t, dir, options...)
			f, err := Open(bytes.NewReader(data), int64(len(data)))
			if err != nil {
				t.Fatal(err)
			}
			if options[len(options)-1] == "11111111-2222-3333-4444-555555555555" && (f.Label != "root" || f.UUID != options[len(options)-1]) {
				t.Errorf("label %q, UUID %s", f.Label, f.UUID)
			}
			for name, want := range map[string]string{"etc/fstab": "UUID=1 / ext4\n", "/boot/big": string(big), "lib/deep/er/file": "deep", "/etc/deep/file": "deep",
				"abs": "deep", "out": "UUID=1 / ext4\n", "long": "deep", "usr/lib/many/a-name-that-is-rather-long-699": ""} {
				if got, err := f.ReadFile(name, 4<<20); err != nil || string(got) != want {
					t.Errorf("%s: %d bytes, %v; want %d", name, len(got), err, len(want))
				}
			}
			if got, err := f.ReadFile("sparse", 4<<20); err != nil || len(got) != 3<<20 || string(got[2<<20:2<<20+3]) != "end" || got[1<<20] != 0 {
				t.Errorf("sparse: %d bytes, %v", len(got), err)
			}
			if list, err := f.ReadDir("/lib/many"); err != nil || len(list) != 700 {
				t.Errorf("%d names, %v", len(list), err)
			}
			if _, err := f.ReadFile("etc/shadow", 100); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("missing: %v", err)
			}
			if _, err := f.ReadFile("etc/fstab/x", 100); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("below a file: %v", err)
			}
			for _, name := range []string{"loop", "etc", "boot/big"} {
				if _, err := f.ReadFile(name, 1000); err == nil {
					t.Errorf("%s was read", name)
				}
			}
		})
	}
}

func TestRefusesOthers(t *testing.T) {
	if _, err := Open(bytes.NewReader(make([]byte, 1<<20)), 1<<20); err == nil {
		t.Error("zeros were opened")
	}
	dir, _ := folder(t)
	data := image(t, dir, "-t", "ext4")
	if _, err := Open(bytes.NewReader(data), int64(len(data)/2)); err == nil {
		t.Error("a file system that is cut was opened")
	}
}

// FuzzRead spoils a file system: whatever a guest wrote, reading ends, and takes what it was allowed to.
func FuzzRead(f *testing.F) {
	dir, _ := folder(f)
	data := image(f, dir, "-t", "ext4", "-b", "1024")
	old := image(f, dir, "-t", "ext2", "-b", "1024")
	f.Add(uint32(1024+0x58), []byte{0xff, 0xff}, false)
	f.Add(uint32(4096), []byte{0, 0}, true)
	f.Fuzz(func(t *testing.T, at uint32, bytesThere []byte, second bool) {
		from := data
		if second {
			from = old
		}
		p := bytes.Clone(from)
		copy(p[int(at)%len(p):], bytesThere)
		fsys, err := Open(bytes.NewReader(p), int64(len(p)))
		if err != nil {
			return
		}
		for _, name := range []string{"etc/fstab", "boot/big", "abs", "loop", "usr/lib/many/a-name-that-is-rather-long-699"} {
			if got, err := fsys.ReadFile(name, 2<<20); err == nil && len(got) > 2<<20 {
				t.Errorf("%s: %d bytes", name, len(got))
			}
		}
	})
}
