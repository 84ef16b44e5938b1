package qemu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"
)

// kvmCheckTimeout bounds the trial of KVM; a guest that runs ends it in well under a second.
const kvmCheckTimeout = 10 * time.Second

// chooseAccel returns the function that answers, once found, which accelerator machines are started with.
func (d *Driver) chooseAccel() func(context.Context) (string, error) {
	if d.cfg.Accel != "" {
		return func(context.Context) (string, error) { return d.cfg.Accel, nil }
	}
	var mu sync.Mutex
	var found string
	return func(ctx context.Context) (string, error) {
		mu.Lock()
		defer mu.Unlock()
		if found != "" {
			return found, nil
		}
		// An open device proves little: nested virtualisation is often half there. Only a guest that ran counts.
		f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
		if err == nil {
			_ = f.Close()
			err = d.tryAccel(ctx, "kvm")
		}
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		found = "kvm"
		if err != nil {
			found = "tcg"
			d.log.Info("machines run by emulation", "accel", "tcg", "reason", err)
		}
		return found, nil
	}
}

// bootSector is real-mode code that asks QEMU's debug-exit device to end: mov al, 0x10; out 0xf4, al; hlt; jmp $-1.
var bootSector = []byte{0xb0, 0x10, 0xe6, 0xf4, 0xf4, 0xeb, 0xfd}

// bootSectorExit is the exit code that the device makes of 0x10.
const bootSectorExit = 0x10<<1 | 1

// tryAccel runs a guest of one boot sector under the accelerator.
func (d *Driver) tryAccel(ctx context.Context, accel string) error {
	dir, err := os.MkdirTemp("", "understudy-accel-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)       //nolint:errcheck // temporary
	sector := make([]byte, 1<<20) // firmware finds no disk in less
	copy(sector, bootSector)
	sector[510], sector[511] = 0x55, 0xaa
	path := filepath.Join(dir, "boot.img")
	if err := os.WriteFile(path, sector, 0o600); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, kvmCheckTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, d.cfg.Binary, "-accel", accel, "-machine", machineType, "-m", "16", "-nodefaults", "-no-user-config",
		"-display", "none", "-device", "isa-debug-exit,iobase=0xf4,iosize=4",
		"-drive", "file="+path+",format=raw,if=ide,snapshot=on")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == bootSectorExit {
		return nil
	}
	return fmt.Errorf("a guest does not run with %s: %v: %s", accel, err, lastLines(string(out), 1))
}
