package guest

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"understudy/test/need"
)

func TestCPIO(t *testing.T) {
	want := tree{}
	want.file("init", 0o755, []byte("#!/bin/sh\n"))
	want.file("a/b/c", 0o644, []byte{})
	want.file("odd", 0o600, []byte("12345"))
	want.link("a/link", "../init")
	want.device("dev/console", 5, 1)
	want.dir("proc")
	var b bytes.Buffer
	if err := writeCPIO(&b, want); err != nil {
		t.Fatal(err)
	}
	got, err := readCPIO(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	for name, e := range want {
		e.data = append([]byte{}, e.data...)
		want[name] = e
	}
	for name, e := range got {
		e.data = append([]byte{}, e.data...)
		got[name] = e
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("read %v\nwrote %v", got, want)
	}
	if _, err := readCPIO(b.Bytes()[:b.Len()-130]); err == nil {
		t.Fatal("a cut archive was read")
	}

	t.Run("cpio agrees", func(t *testing.T) {
		need.Tool(t, "cpio")
		cmd := exec.Command("cpio", "-t", "--quiet")
		cmd.Stdin = bytes.NewReader(b.Bytes())
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		names := strings.Fields(string(out))
		if !slices.Equal(names, []string{"a", "a/b", "a/b/c", "a/link", "dev", "dev/console", "init", "odd", "proc"}) {
			t.Fatalf("cpio lists %q", names)
		}
	})
}

func TestInitrdHoldsWhatInitNeeds(t *testing.T) {
	f, err := os.Open(filepath.Join(need.Guest(t), Initrd))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	root, err := readCPIO(b)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"init", "bin/busybox", "bin/sh", "bin/shop", "bin/qemu-ga", "sbin/mke2fs", "sbin/e2fsck",
		"lib64/ld-linux-x86-64.so.2", "lib/x86_64-linux-gnu/libc.so.6", "dev/console", "lib/modules/virtio_blk.ko"} {
		if _, ok := root[name]; !ok {
			t.Errorf("%s is missing", name)
		}
	}
	seen := map[string]bool{}
	for line := range strings.Lines(string(root["lib/modules/order"].data)) {
		name := strings.Trim(line, "/\n")
		depends, err := moduleDepends(root[name].data)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, d := range depends {
			if d = strings.ReplaceAll(d, "-", "_"); !seen[d] {
				if _, has := root["lib/modules/"+d+".ko"]; has {
					t.Errorf("%s is inserted before %s", name, d)
				}
			}
		}
		seen[strings.TrimSuffix(filepath.Base(name), ".ko")] = true
	}
	if !Built(os.Getenv("UNDERSTUDY_GUEST_DIR")) {
		t.Error("the guest is older than its sources: run `make guest`")
	}
}

func TestEmptyDisk(t *testing.T) {
	need.Tool(t, "qemu-img")
	for _, format := range []string{"raw", "qcow2"} {
		path := filepath.Join(t.TempDir(), "disk."+format)
		if err := EmptyDisk(t.Context(), path, format, 64<<20); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("qemu-img", "info", "--output=json", path).Output()
		if err != nil || !strings.Contains(string(out), `"virtual-size": 67108864`) || !strings.Contains(string(out), `"format": "`+format+`"`) {
			t.Fatalf("%s, %v", out, err)
		}
		if err := EmptyDisk(t.Context(), path, format, 1<<20); err == nil {
			t.Fatal("a disk was replaced")
		}
	}
}
