package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"understudy/internal/dr"
	"understudy/internal/nbd"
)

// serverGrace bounds the orderly end of an image's server, which writes what it holds in memory.
const serverGrace = 30 * time.Second

// imageServer is a qemu-nbd that serves one image of a stopped machine to this controller alone.
type imageServer struct {
	client *nbd.Client
	life   io.Closer     // its end is that of the server
	cmd    *exec.Cmd     // the shell that keeps it
	start  string        // tells its process from a later one of the same ID
	ended  chan struct{} // closed when the process has ended
}

// keeper runs qemu-nbd with a listening socket, as systemd would hand it over, until standard input ends: in order when
// this controller wants that, and at the latest when the controller is dead. By itself qemu-nbd would wait for ever for
// a client that died before it spoke. It is told to end until it does: while it starts, qemu-nbd forgets that it was told.
const keeper = `sh -c 'LISTEN_PID=$$ LISTEN_FDS=1 exec qemu-nbd "$@"' sh "$@" </dev/null &
server=$!
exec 3<&-
read -r line
while kill $server && sleep 0.2; do :; done >/dev/null 2>&1 &
wait $server
status=$?
kill $! 2>/dev/null
exit $status`

// serveImage opens a disk's image. ctx bounds the opening only.
func (d *Driver) serveImage(ctx context.Context, disk dr.Disk, write bool) (*imageServer, error) {
	// In a folder of its own, so that nobody else's name is in the way.
	dir, err := os.MkdirTemp(d.cfg.SocketDir, "n")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // empty but for a socket that is connected by then
	socket := filepath.Join(dir, "n")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return nil, err
	}
	defer listener.Close() //nolint:errcheck // the child has its own
	file, err := listener.File()
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // the child has its own
	s := &imageServer{ended: make(chan struct{})}
	args := []string{"-c", keeper, "sh", "-x", "disk", "-f", disk.Format}
	if write {
		args = append(args, "--discard=unmap")
	} else {
		args = append(args, "-r")
	}
	var stderr bytes.Buffer
	s.cmd = exec.Command("sh", append(args, "--", disk.Path)...)
	s.cmd.SysProcAttr = ownSession()
	s.cmd.ExtraFiles = []*os.File{file}
	s.cmd.Stderr = &stderr
	if s.life, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, dr.WithHint(err, dr.KindUnavailable, "install QEMU's tools: apt install qemu-utils")
	}
	s.start = processStart(s.cmd.Process.Pid)
	go func() {
		_ = s.cmd.Wait()
		close(s.ended)
	}()
	// Without the listener of ours, a qemu-nbd that fails refuses the connection.
	_ = file.Close()
	listener.SetUnlinkOnClose(false)
	_ = listener.Close()
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	s.client, err = nbd.Dial(ctx, nbd.URI(socket, "disk"), nbd.DialOptions{MetaContexts: []string{nbd.MetaAllocation}})
	if err == nil {
		return s, nil
	}
	_ = s.life.Close()
	<-s.ended
	kind, hint := dr.KindUnavailable, "see that qemu-nbd is installed (apt install qemu-utils) and can open "+disk.Path
	if bytes.Contains(stderr.Bytes(), []byte("lock")) {
		kind, hint = dr.KindConflict, "wait for the program that uses "+disk.Path+", or end it"
	}
	return nil, dr.WithHint(fmt.Errorf("qemu-nbd: %w %s", err, lastLines(stderr.String(), 2)), kind, hint)
}

// drop gives the server up, as the death of the controller does.
func (s *imageServer) drop() {
	_ = s.client.Close()
	_ = s.life.Close()
}

// close ends the server in order and waits for it.
func (s *imageServer) close() error {
	s.drop()
	select {
	case <-s.ended:
	case <-time.After(serverGrace):
		_ = killGroup(s.cmd.Process.Pid)
		<-s.ended
		return errors.New("qemu-nbd did not end in time")
	}
	if st := s.cmd.ProcessState; !st.Success() {
		return fmt.Errorf("qemu-nbd ended: %s", st)
	}
	return nil
}
