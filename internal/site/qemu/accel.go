package qemu

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
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

// bootSector enters 64-bit mode, exchanges 16 bytes at once, as kernels do, and asks QEMU's debug-exit device to end. Where
// virtualisation is emulated, KVM may run older code and stop at that. testdata/bootsector.S is its source.
var bootSector = func() []byte {
	code, err := hex.DecodeString("" +
		"fa31c08ed88ec08ed0bc007c66bf001000000f22df6631c066b9000c0000fc66f3ab66c7" +
		"0600100320000066c70600200330000066c7060030830000000f20e00c200f22e066b980" +
		"0000c00f320d00010f300f20c0660d010000800f22c00f0116b07cea687c0800bf004000" +
		"0031c031d231dbb95555000048c7070000000048c7470800000000f0480fc70f750e4881" +
		"7f08555500007504b010e6f4f4ebfd90000000000000000000000000009a20000f00a07c" +
		"0000")
	if err != nil {
		panic(err) // it is a constant
	}
	return code
}()

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
	args := append(accelArgs(accel), "-machine", machineType, "-m", "16", "-nodefaults", "-no-user-config",
		"-display", "none", "-device", "isa-debug-exit,iobase=0xf4,iosize=4",
		"-drive", "file="+path+",format=raw,if=ide,snapshot=on")
	cmd := exec.CommandContext(ctx, d.cfg.Binary, args...)
	endWithParent(cmd)
	// The system counts the end of the thread that started it as the parent's.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	out := &trialOutput{stop: cancel}
	cmd.Stdout, cmd.Stderr = out, out
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == bootSectorExit {
		return nil
	}
	return fmt.Errorf("a guest does not run with %s: %v: %s", accel, err, firstLine(out.text.String()))
}

// trialOutput keeps what QEMU says, and ends the trial when a guest has died in it: QEMU itself would wait for somebody to look.
type trialOutput struct {
	text bytes.Buffer
	stop func()
}

func (o *trialOutput) Write(p []byte) (int, error) {
	n, err := o.text.Write(p)
	if bytes.Contains(o.text.Bytes(), []byte("internal error")) {
		o.stop()
	}
	return n, err
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return line
}
