// Package guest builds the small virtual machine of the demonstration and of the tests: a Debian kernel, and an initial
// RAM disk with busybox, the QEMU guest agent, e2fsprogs and the shop application. Every foreign part is downloaded as a
// Debian package by apt and unpacked into a cache folder; nothing is installed. init.sh documents the kernel parameters.
package guest

import (
	"compress/gzip"
	"context"
	"crypto/sha256"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"understudy/internal/dr"
)

// Names of the files that Build makes.
const (
	Kernel = "vmlinuz"
	Initrd = "initrd.gz"
)

// format changes when the same inputs are put together in another way.
const format = "1"

const stampFile = "stamp"

//go:embed *.go init.sh shutdown.sh shop/*.go metrics/*.go cmd/shop/*.go
var inputs embed.FS

// Built reports whether dir holds a guest of this version of the program.
func Built(dir string) bool {
	want, err := stamp()
	if err != nil {
		return false
	}
	got, err := os.ReadFile(filepath.Join(dir, stampFile))
	if err != nil || string(got) != want {
		return false
	}
	for _, name := range []string{Kernel, Initrd} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return false
		}
	}
	return true
}

// Build makes the guest's files in dir unless they are there and up to date. Source is the folder of the module, from
// which the guest's own program is compiled. Several processes may build in the same folder: one works, the others wait.
// Progress, for people, goes to w.
func Build(ctx context.Context, dir, source string, w io.Writer) error {
	if Built(dir) {
		return nil
	}
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		return dr.WithHint(fmt.Errorf("build guest: made of Debian's amd64 packages, not possible on %s/%s", runtime.GOOS, runtime.GOARCH),
			dr.KindUnavailable, "build it on Debian amd64 with `make guest` and copy the folder")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("build guest: %w", err)
	}
	unlock, err := lock(filepath.Join(dir, "lock"))
	if err != nil {
		return fmt.Errorf("build guest: %w", err)
	}
	defer unlock()
	if Built(dir) {
		return nil
	}
	if err := build(ctx, dir, source, w); err != nil {
		return fmt.Errorf("build guest: %w", err)
	}
	return nil
}

func build(ctx context.Context, dir, source string, w io.Writer) error {
	want, err := stamp()
	if err != nil {
		return err
	}
	// A stamp must never stand beside files that it does not describe.
	if err := os.Remove(filepath.Join(dir, stampFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	work, err := os.MkdirTemp(dir, "work-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)

	fmt.Fprintln(w, "guest: compile the shop application")
	program := filepath.Join(work, "shop")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, "understudy/internal/demo/guest/cmd/shop")
	cmd.Dir = source
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if err := run(cmd); err != nil {
		return dr.WithHint(err, dr.KindUnavailable, "build the guest with `make guest` in a checkout")
	}
	parts, err := fetch(ctx, filepath.Join(dir, "packages"), filepath.Join(work, "root"), w)
	if err != nil {
		return err
	}
	root, err := assemble(ctx, parts, program)
	if err != nil {
		return err
	}
	if err := copyFile(filepath.Join(dir, Kernel), parts.kernel); err != nil {
		return err
	}
	if err := writeInitrd(filepath.Join(dir, Initrd), root); err != nil {
		return err
	}
	fmt.Fprintf(w, "guest: %s and %s are ready in %s\n", Kernel, Initrd, dir)
	return os.WriteFile(filepath.Join(dir, stampFile), []byte(want), 0o644)
}

// stamp digests everything that the guest is made from, except Debian's packages: a newer kernel is no reason to rebuild.
func stamp() (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, format, runtime.Version())
	err := fs.WalkDir(inputs, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(name, "_test.go") {
			return err
		}
		b, err := inputs.ReadFile(name)
		fmt.Fprintf(h, "%s %d\n%s", name, len(b), b)
		return err
	})
	return fmt.Sprintf("%x\n", h.Sum(nil)), err
}

func writeInitrd(name string, root tree) error {
	return replace(name, func(f io.Writer) error {
		z, err := gzip.NewWriterLevel(f, gzip.BestCompression)
		if err != nil {
			return err
		}
		if err := writeCPIO(z, root); err != nil {
			return err
		}
		return z.Close()
	})
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	return replace(to, func(f io.Writer) error {
		_, err := io.Copy(f, in)
		return err
	})
}

// replace writes a file beside its place and moves it there, so that a machine that has the old one open keeps it.
func replace(name string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".new-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	err = errors.Join(write(f), f.Chmod(0o644), f.Close())
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return os.Rename(f.Name(), name)
}

// run runs a command and puts what it said into the error.
func run(cmd *exec.Cmd) error {
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args[:min(2, len(cmd.Args))], " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// EmptyDisk creates a blank disk image of size bytes, format raw or qcow2, that the guest formats when it first boots.
// It refuses to replace a file.
func EmptyDisk(ctx context.Context, path, format string, size int64) error {
	if format == "raw" {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if err != nil {
			return fmt.Errorf("create disk: %w", err)
		}
		if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
			return fmt.Errorf("create disk %s: %w", path, err)
		}
		return nil
	}
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("create disk %s: %w", path, fs.ErrExist)
	}
	if err := run(exec.CommandContext(ctx, "qemu-img", "create", "-q", "-f", format, path, fmt.Sprint(size))); err != nil {
		return dr.WithHint(fmt.Errorf("create disk %s: %w", path, err), dr.KindUnavailable, "sudo apt-get install qemu-utils")
	}
	return nil
}
