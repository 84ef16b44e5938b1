package export

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"understudy/internal/dr"
	"understudy/internal/nbd"
	"understudy/internal/scratch"
)

// qemuFormats are qemu-img's names and options of formats. A VHD gets exactly the disk's size: without force_size
// qemu-img rounds it up to a disk geometry, and Azure refuses the result.
var qemuFormats = map[Format][]string{
	QCOW2: {"-O", "qcow2"},
	VHD:   {"-O", "vpc", "-o", "subformat=dynamic,force_size=on"},
	VHDX:  {"-O", "vhdx"},
	VMDK:  {"-O", "vmdk"},
}

// maxVHD is the largest disk that the VHD format can hold, in bytes.
const maxVHD = 2040 << 30

// convert lets qemu-img read the disk from a private NBD server and write the file.
func convert(ctx context.Context, file string, req Request) error {
	if req.Format == VHD && req.Source.Size() > maxVHD {
		return dr.WithHint(fmt.Errorf("a disk of %d bytes is too large for a VHD", req.Source.Size()), dr.KindInvalid, "use --format vhdx")
	}
	tool, err := exec.LookPath("qemu-img")
	if err != nil {
		return dr.WithHint(err, dr.KindUnavailable, "apt-get install qemu-utils, or use --format raw")
	}
	dir, remove, err := scratch.Dir()
	if err != nil {
		return err
	}
	defer remove()
	socket := filepath.Join(dir, "nbd")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return fmt.Errorf("serve the disk: %w", err)
	}
	server := nbd.NewServer(nbd.ServerOptions{Drain: time.Second})
	if err := server.Add(nbd.Export{Name: "disk", Device: req.Source, ReadOnly: true}); err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, listener) }()
	defer func() {
		server.Close()
		<-served
	}()
	args := append([]string{"convert", "-p", "-m", "8", "-f", "raw"}, qemuFormats[req.Format]...)
	cmd := exec.CommandContext(ctx, tool, append(args, nbd.URI(socket, "disk"), file)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	lines := bufio.NewScanner(stdout)
	lines.Split(splitCR)
	for lines.Scan() {
		if percent, ok := parsePercent(lines.Text()); ok {
			req.Progress(int64(percent/100*float64(req.Source.Size())), req.Source.Size())
		}
	}
	if err := cmd.Wait(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		text, _, _ := strings.Cut(strings.TrimSpace(stderr.String()), "\n")
		return fmt.Errorf("qemu-img: %w", errors.New(text))
	}
	return nil
}

// splitCR splits at carriage returns and line feeds.
func splitCR(data []byte, atEOF bool) (advance int, token []byte, err error) {
	if i := bytes.IndexAny(data, "\r\n"); i >= 0 {
		return i + 1, data[:i], nil
	}
	if atEOF && len(data) > 0 {
		return len(data), data, nil
	}
	return 0, nil, nil
}

// parsePercent reads qemu-img's progress: "    (12.34/100%)".
func parsePercent(s string) (float64, bool) {
	s, ok := strings.CutPrefix(strings.TrimSpace(s), "(")
	s, _, cut := strings.Cut(s, "/")
	if !ok || !cut {
		return 0, false
	}
	f, err := strconv.ParseFloat(s, 64)
	return f, err == nil
}
