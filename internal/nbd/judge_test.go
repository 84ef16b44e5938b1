package nbd_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"understudy/internal/nbd"
	"understudy/test/need"
)

// The programs of others judge the server: libnbd's and QEMU's tools, fio, and a file system on top of it all.

func TestJudgeNbdinfo(t *testing.T) {
	need.Tool(t, "nbdinfo")
	d := &pattern{size: 4<<20 + 512}
	_, socket := serve(t, nbd.ServerOptions{},
		nbd.Export{Name: "p", Device: d, Description: "a pattern"}, nbd.Export{Name: "q", Device: d})
	uri := nbd.URI(socket, "p")
	var m []struct {
		Offset, Length int64
		Type           uint32
	}
	if err := json.Unmarshal([]byte(run(t, "nbdinfo", "--json", "--map", uri)), &m); err != nil {
		t.Fatal(err)
	}
	want := d.Extents(0, d.size)
	if len(m) != len(want) {
		t.Fatalf("map %v, want %v", m, want)
	}
	for i, e := range want {
		if m[i].Offset != e.Offset || m[i].Length != e.Length || (m[i].Type == nbd.StateHole|nbd.StateZero) != e.Zero {
			t.Errorf("map %v, want %v", m[i], e)
		}
	}
	info := run(t, "nbdinfo", "--list", uri)
	for _, line := range []string{`export="p"`, `export="q"`, "description: a pattern", "base:allocation",
		"is_read_only: true", "can_multi_conn: true", "can_df: true", "can_cache: true", "block_size_maximum: 33554432"} {
		if !strings.Contains(info, line) {
			t.Errorf("nbdinfo does not say %q:\n%s", line, info)
		}
	}
}

func TestJudgeCopies(t *testing.T) {
	need.Tool(t, "nbdcopy", "qemu-img", "qemu-io")
	d := &pattern{size: 12 << 20}
	_, socket := serve(t, nbd.ServerOptions{},
		nbd.Export{Name: "p", Device: d}, nbd.Export{Name: "o", Device: newOverlay(t, &sparse{size: d.size})})
	dir := t.TempDir()
	raw, copied, converted := dir+"/raw", dir+"/copied", dir+"/converted"
	if err := os.WriteFile(raw, d.bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	p, o := nbd.URI(socket, "p"), nbd.URI(socket, "o")
	run(t, "nbdcopy", p, copied)
	run(t, "qemu-img", "compare", "-f", "raw", "-F", "raw", raw, copied)
	run(t, "qemu-img", "compare", "-f", "raw", "-F", "raw", raw, p)
	run(t, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", p, converted)
	run(t, "qemu-img", "compare", raw, converted)
	if out := run(t, "qemu-img", "map", "--output=json", "-f", "raw", p); strings.Count(out, `"zero": true`) != 6 {
		t.Errorf("qemu-img map: %s", out)
	}
	// And into the overlay, twice, over what is there.
	run(t, "nbdcopy", raw, o)
	run(t, "qemu-img", "compare", "-f", "raw", "-F", "raw", raw, o)
	run(t, "qemu-io", "-f", "raw", o, "-c", "write -P 9 3000 1000000", "-c", "write -z -u 100k 3M", "-c", "write -z 4M 64k",
		"-c", "discard 5M 1M", "-c", "write -f -P 4 6M 512", "-c", "flush", "-c", "read -P 9 3000 1k", "-c", "read -P 0 100k 3M", "-c", "read -P 4 6M 512")
	run(t, "qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", raw, o)
	run(t, "qemu-img", "compare", "-f", "raw", "-F", "raw", raw, o)
}

// TestJudgeIllegalRequests has libnbd send what it would normally refuse to send.
func TestJudgeIllegalRequests(t *testing.T) {
	const python = "/usr/bin/python3"
	need.Tool(t, python)
	if err := exec.Command(python, "-c", "import nbd").Run(); err != nil {
		need.Missing(t, "python3-libnbd is not installed: run `make setup`")
	}
	_, socket := serve(t, nbd.ServerOptions{},
		nbd.Export{Name: "p", Device: &pattern{size: 1 << 20}}, nbd.Export{Name: "o", Device: newOverlay(t, &pattern{size: 1 << 20})})
	cmd := exec.CommandContext(t.Context(), python, "-", socket)
	cmd.Stdin = strings.NewReader(`
import errno, nbd, sys
size = 1 << 20
def connect(export, structured=True):
    h = nbd.NBD()
    h.set_strict_mode(0)
    h.set_request_structured_replies(structured)
    if structured:
        h.add_meta_context("base:allocation")
    h.set_export_name(export)
    h.connect_unix(sys.argv[1])
    return h
def refused(what, want, f, *args, **kw):
    try:
        f(*args, **kw)
    except nbd.Error as e:
        if e.errnum == want:
            return
        sys.exit("%s: %s, want %s" % (what, e, errno.errorcode[want]))
    sys.exit("%s: accepted" % what)
def no(*args): return 0
for structured in (True, False):
    r, w = connect("p", structured), connect("o", structured)
    for h in (r, w):
        refused("read beyond", errno.EINVAL, h.pread, 512, size - 511)
        refused("read far beyond", errno.EINVAL, h.pread, 512, 1 << 62)
        refused("read of nothing", errno.EINVAL, h.pread, 0, 0)
        refused("read with unknown flags", errno.EINVAL, h.pread, 512, 0, 0x8000)
        refused("read with the wrong flag", errno.EINVAL, h.pread, 512, 0, nbd.CMD_FLAG_REQ_ONE)
        refused("cache beyond", errno.EINVAL, h.cache, 512, size)
        refused("status beyond", errno.EINVAL, h.block_status, 512, size, no)
        refused("flush with flags", errno.EINVAL, h.flush, 0x4000)
        h.cache(size, 0)
        h.flush()
        assert len(h.pread(size, 0)) == size
    if structured:
        refused("status of nothing", errno.EINVAL, r.block_status, 0, 0, no)
        refused("status with unknown flags", errno.EINVAL, r.block_status, 512, 0, no, 0x8000)
        assert len(r.pread(size, 0, nbd.CMD_FLAG_DF)) == size
    else:
        refused("unfragmented without structured replies", errno.EINVAL, r.pread, 512, 0, nbd.CMD_FLAG_DF)
    refused("write on read-only", errno.EPERM, r.pwrite, b"x" * 512, 0)
    refused("zero on read-only", errno.EPERM, r.zero, 512, 0)
    refused("trim on read-only", errno.EPERM, r.trim, 512, 0)
    refused("write beyond", errno.ENOSPC, w.pwrite, b"x" * 512, size - 511)
    refused("zero beyond", errno.ENOSPC, w.zero, 512, size)
    refused("trim beyond", errno.ENOSPC, w.trim, 512, size)
    refused("write with unknown flags", errno.EINVAL, w.pwrite, b"x" * 512, 0, 0x100)
    refused("fast zero without hole", errno.ENOTSUP, w.zero, 512, 0, nbd.CMD_FLAG_FAST_ZERO | nbd.CMD_FLAG_NO_HOLE)
    w.zero(8192, 0, nbd.CMD_FLAG_FAST_ZERO)
    w.zero(8192, 8192, nbd.CMD_FLAG_NO_HOLE | nbd.CMD_FLAG_FUA)
    assert w.pread(16384, 0) == bytearray(16384)
    w.pwrite(b"y" * 5000, 4000, nbd.CMD_FLAG_FUA)
    assert w.pread(5002, 3999) == b"\0" + b"y" * 5000 + b"\0"
    for h in (r, w):
        h.shutdown()
`)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestJudgeFio(t *testing.T) {
	need.Tool(t, "fio")
	if out, _ := exec.Command("fio", "--enghelp").Output(); !bytes.Contains(out, []byte("nbd")) {
		need.Missing(t, "fio has no nbd engine: run `make setup`")
	}
	_, socket := serve(t, nbd.ServerOptions{}, nbd.Export{Device: newOverlay(t, &pattern{size: 16 << 20})})
	run(t, "fio", "--name=verify", "--ioengine=nbd", "--uri="+nbd.URI(socket, ""), "--rw=randwrite", "--bsrange=512-64k", "--bs_unaligned=1",
		"--size=16M", "--iodepth=32", "--verify=crc32c", "--verify_fatal=1", "--randseed=7", "--output="+filepath.Join(t.TempDir(), "fio"))
}

// TestJudgeFilesystem makes a file system on an overlay, through a file that nbdfuse shows, and has it checked.
func TestJudgeFilesystem(t *testing.T) {
	need.Tool(t, "nbdfuse", "fusermount3", "mkfs.ext4", "debugfs", "e2fsck", "qemu-img")
	if f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0); err != nil {
		need.Missing(t, fmt.Sprintf("FUSE does not work here: %v", err))
	} else {
		f.Close()
	}
	o := newOverlay(t, &sparse{size: 64 << 20})
	_, socket := serve(t, nbd.ServerOptions{}, nbd.Export{Device: o})
	file := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	fuse := exec.Command("nbdfuse", file, nbd.URI(socket, ""))
	var said bytes.Buffer
	fuse.Stdout, fuse.Stderr = &said, &said
	if err := fuse.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- fuse.Wait() }()
	unmount := func() {
		if err := exec.Command("fusermount3", "-u", file).Run(); err != nil {
			fuse.Process.Kill()
		}
	}
	// It tells nobody when it is ready: the file has a size then.
	for limit := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if st, err := os.Stat(file); err == nil && st.Size() == o.Size() {
			break
		}
		select {
		case err := <-ended:
			need.Missing(t, fmt.Sprintf("nbdfuse does not work here: %v: %s", err, said.String()))
			return
		default:
		}
		if time.Now().After(limit) {
			unmount()
			<-ended
			t.Fatalf("nbdfuse is not ready: %s", said.String())
		}
	}
	words := filepath.Join(t.TempDir(), "words")
	if err := os.WriteFile(words, (&pattern{size: 3 << 20}).bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"mkfs.ext4", "-q", "-F", "-E", "discard", file},
		{"debugfs", "-w", "-R", "write " + words + " words", file},
		{"e2fsck", "-f", "-n", file},
		{"debugfs", "-R", "dump words " + words + ".back", file},
	} {
		if out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Errorf("%q: %v\n%s", args, err, out)
		}
	}
	unmount()
	<-ended
	if t.Failed() {
		return
	}
	run(t, "cmp", words, words+".back")
	raw := filepath.Join(t.TempDir(), "raw")
	run(t, "qemu-img", "convert", "-f", "raw", "-O", "raw", nbd.URI(socket, ""), raw)
	run(t, "e2fsck", "-f", "-n", raw)
}
