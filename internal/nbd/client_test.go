package nbd_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"understudy/internal/nbd"
	"understudy/test/need"
)

// run runs a program and returns what it said; its failure is the test's.
func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// qemuNBD serves an image with qemu-nbd until the test ends and returns its URI.
func qemuNBD(t testing.TB, args ...string) string {
	t.Helper()
	need.Tool(t, "qemu-nbd", "qemu-img", "qemu-io")
	socket := filepath.Join(t.TempDir(), "s")
	pid := filepath.Join(t.TempDir(), "pid")
	// --fork returns when the socket is there.
	run(t, "qemu-nbd", append([]string{"--fork", "--persistent", "--shared=8", "--pid-file=" + pid, "--socket=" + socket}, args...)...)
	t.Cleanup(func() { stop(t, pid) })
	return nbd.URI(socket, "")
}

// stop ends the program whose process ID is in a file.
func stop(t testing.TB, pid string) {
	b, err := os.ReadFile(pid)
	if err != nil {
		t.Error(err)
		return
	}
	// The test's context has ended by now.
	if err := exec.Command("kill", string(bytes.TrimSpace(b))).Run(); err != nil {
		t.Error(err)
	}
}

func dial(t testing.TB, uri string, o nbd.DialOptions) *nbd.Client {
	t.Helper()
	c, err := nbd.Dial(t.Context(), uri, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestClientAgainstQEMU(t *testing.T) {
	img := filepath.Join(t.TempDir(), "i.qcow2")
	need.Tool(t, "qemu-img", "qemu-io")
	run(t, "qemu-img", "create", "-q", "-f", "qcow2", img, "64M")
	run(t, "qemu-img", "bitmap", "--add", "--enable", img, "b")
	run(t, "qemu-io", "-c", "write -P 7 4M 1M", img)
	uri := qemuNBD(t, "-f", "qcow2", "-B", "b", img)

	dirty := nbd.MetaDirtyBitmap("b")
	c := dial(t, uri, nbd.DialOptions{MetaContexts: []string{nbd.MetaAllocation, dirty, "x:none"}, Connections: 3})
	if c.Size() != 64<<20 || c.ReadOnly() || c.Connections() != 3 {
		t.Fatalf("size %d, read-only %v, connections %d", c.Size(), c.ReadOnly(), c.Connections())
	}
	if got := c.MetaContexts(); !slices.Equal(got, []string{nbd.MetaAllocation, dirty}) {
		t.Fatalf("meta contexts %q", got)
	}
	for name, want := range map[string][]nbd.Run{
		nbd.MetaAllocation: {{4 << 20, 3}, {1 << 20, 0}, {59 << 20, 3}},
		dirty:              {{4 << 20, 0}, {1 << 20, nbd.StateDirty}, {59 << 20, 0}},
	} {
		got, err := c.BlockStatus(t.Context(), name, 0, c.Size())
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, %v, want %v", name, got, err, want)
		}
	}
	if _, err := c.BlockStatus(t.Context(), "x:none", 0, 1); !errors.Is(err, nbd.ErrNoMetaContext) {
		t.Errorf("unknown meta context: %v", err)
	}
	got, err := c.BlockStatus(t.Context(), nbd.MetaAllocation, 4<<20-100, 300)
	if want := []nbd.Run{{100, 3}, {200, 0}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("unaligned block status: %v, %v, want %v", got, err, want)
	}

	// The whole disk in one read, mostly holes.
	all := make([]byte, c.Size()+10)
	want := make([]byte, c.Size())
	for i := 4 << 20; i < 5<<20; i++ {
		want[i] = 7
	}
	if n, err := c.ReadAt(all, 0); n != len(want) || err != io.EOF || !bytes.Equal(all[:n], want) {
		t.Errorf("read all: %d, %v, equal %v", n, err, bytes.Equal(all[:n], want))
	}
	if n, err := c.ReadAt(all, c.Size()); n != 0 || err != io.EOF {
		t.Errorf("read at the end: %d, %v", n, err)
	}

	// Many writers and readers at once, unaligned, each in its own area.
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(g)))
			base := g * 8 << 20
			for range 5 {
				p := make([]byte, 1+r.IntN(3<<20))
				for i := range p {
					p[i] = byte(i>>8 ^ i + g)
				}
				at := base + r.IntN(8<<20-len(p))
				if _, err := c.WriteAt(p, int64(at)); err != nil {
					t.Error(err)
					return
				}
				copy(want[at:], p)
				q := make([]byte, len(p))
				if _, err := c.ReadAt(q, int64(at)); err != nil || !bytes.Equal(p, q) {
					t.Errorf("read back %d at %d: %v", len(p), at, err)
					return
				}
			}
			if err := c.Zero(int64(base+5), 1<<20); err != nil {
				t.Error(err)
			}
			clear(want[base+5 : base+5+1<<20])
		})
	}
	wg.Wait()
	if err := c.Flush(); err != nil {
		t.Error(err)
	}
	if _, err := c.ReadAt(all, 0); err != io.EOF || !bytes.Equal(all[:len(want)], want) {
		t.Errorf("read all after writes: %v", err)
	}
}

// TestClientRespectsBlockSize reads unaligned from a server that insists on whole blocks.
func TestClientRespectsBlockSize(t *testing.T) {
	need.Tool(t, "nbdkit")
	if out, err := exec.Command("nbdkit", "--filter=blocksize-policy", "--dump-plugin", "data").CombinedOutput(); err != nil {
		need.Missing(t, "nbdkit has no blocksize-policy filter: "+string(out))
	}
	socket := filepath.Join(t.TempDir(), "s")
	// It goes to the background when it listens.
	pid := filepath.Join(t.TempDir(), "pid")
	run(t, "nbdkit", "-U", socket, "-P", pid, "-r", "--filter=blocksize-policy", "data", "( 0x01 0x02 0x03 0x04 )*4096 @32768",
		"size=64K", "blocksize-minimum=4096", "blocksize-maximum=16384", "blocksize-error-policy=error")
	t.Cleanup(func() { stop(t, pid) })
	c := dial(t, nbd.URI(socket, ""), nbd.DialOptions{MetaContexts: []string{nbd.MetaAllocation}})
	want := append(bytes.Repeat([]byte{1, 2, 3, 4}, 4096), make([]byte, 48<<10)...)
	for _, r := range [][2]int{{0, 65536}, {1, 65535}, {5000, 3}, {65535, 1}, {4000, 40000}} {
		p := make([]byte, r[1])
		if _, err := c.ReadAt(p, int64(r[0])); err != nil || !bytes.Equal(p, want[r[0]:r[0]+r[1]]) {
			t.Errorf("read %d at %d: %v", r[1], r[0], err)
		}
	}
	runs, err := c.BlockStatus(t.Context(), nbd.MetaAllocation, 100, 60000)
	var total int64
	for _, r := range runs {
		total += r.Length
	}
	if err != nil || total != 60000 {
		t.Errorf("block status %v, %v", runs, err)
	}
}
