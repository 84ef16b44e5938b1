//go:build unix

package qemu

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"understudy/test/need"
)

// TestServerEndsWhileItStarts lets the controller die at moments of an image's opening: no server outlives it, also none
// that no client ever spoke to.
func TestServerEndsWhileItStarts(t *testing.T) {
	need.Tool(t, "qemu-nbd")
	dir, err := os.MkdirTemp("", "us-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	image := filepath.Join(dir, "i.raw")
	if err := os.WriteFile(image, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "s"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	file, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var wg sync.WaitGroup
	slots := make(chan struct{}, 4)
	for i := range 40 {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			cmd := exec.Command("sh", "-c", keeper, "sh", "-x", "disk", "-f", "raw", "-r", "--", image)
			cmd.SysProcAttr = ownSession()
			cmd.ExtraFiles = []*os.File{file}
			life, err := cmd.StdinPipe()
			if err == nil {
				err = cmd.Start()
			}
			if err != nil {
				t.Error(err)
				return
			}
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			time.Sleep(time.Duration(i) * 2 * time.Millisecond) // the moment
			life.Close()
			select {
			case <-ended:
			case <-time.After(20 * time.Second):
				t.Errorf("a server whose controller died after %d ms goes on", 2*i)
				_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
				<-ended
			}
		})
	}
	wg.Wait()
}
