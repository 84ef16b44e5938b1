// Package preflight looks into the disks of a machine that nobody runs, and says whether it would start on other
// hardware: drivers, boot loader, console, names of disks, network. It writes nothing: what is to be done is said as a
// command for the guest.
package preflight

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"understudy/internal/dr"
	"understudy/internal/site"
)

// State is the outcome of a check.
type State string

// States of checks. Unknown is what cannot be seen from outside: its remedy says how to see it by hand.
const (
	OK      State = "ok"
	Warning State = "warning" // it starts, and something is missing then
	Failure State = "failure" // it does not start, or cannot be reached
	Unknown State = "unknown"
)

// A Check is one thing that was looked at.
type Check struct {
	Machine string
	Name    string
	State   State
	Message string
	Remedy  string // command or setting that helps; to run in the machine where it runs now, unless it says otherwise
}

// A Disk is the content of a disk of a machine.
type Disk struct {
	Name string
	io.ReaderAt
	Size int64
}

// Names of checks, in the order that they are made in.
const (
	CheckBoot    = "boot mode"
	CheckSystem  = "operating system"
	CheckStorage = "storage drivers"
	CheckNetwork = "network drivers"
	CheckRoot    = "root file system"
	CheckConsole = "serial console"
	CheckFstab   = "fstab"
	CheckDHCP    = "network configuration"
	CheckAgent   = "agent"
)

// Examine looks at a machine for a platform. The disks are those of the guest, in the machine's order.
func Examine(ctx context.Context, p site.Platform, m dr.Machine, disks []Disk) []Check {
	e := &examination{p: p, m: m}
	var volumes []volume
	for _, d := range disks {
		list, err := scan(d)
		if err != nil {
			e.add(CheckSystem, Unknown, "the vault's or the site's error says more", "disk %s cannot be read: %v", d.Name, err)
			return e.checks
		}
		volumes = append(volumes, list...)
		if ctx.Err() != nil {
			return e.checks
		}
	}
	e.bootMode(volumes, disks)
	if l := e.system(volumes); l != nil && ctx.Err() == nil {
		l.look()
	}
	return e.checks
}

// Worst is the state that matters most.
func Worst(checks []Check) State {
	for _, s := range []State{Failure, Unknown, Warning} {
		if slices.ContainsFunc(checks, func(c Check) bool { return c.State == s }) {
			return s
		}
	}
	return OK
}

type examination struct {
	p      site.Platform
	m      dr.Machine
	checks []Check
}

func (e *examination) add(name string, state State, remedy, format string, args ...any) {
	if state == OK {
		remedy = ""
	}
	e.checks = append(e.checks, Check{Machine: e.m.Name, Name: name, State: state, Message: fmt.Sprintf(format, args...), Remedy: remedy})
}

// bootMode compares how the machine starts with what is on its first disk.
func (e *examination) bootMode(volumes []volume, disks []Disk) {
	if slices.ContainsFunc(e.m.Disks, func(d dr.Disk) bool { return d.Role != dr.RoleDisk }) {
		if e.p.Kernel {
			e.add(CheckBoot, OK, "", "the kernel is carried with the machine, and started by %s", e.p.Provider)
			return
		}
		e.add(CheckBoot, Failure, "install a boot loader on the first disk (grub-install), and define the machine without boot.kernel",
			"the machine is started from a kernel that is on none of its disks, which %s cannot", e.p.Provider)
		return
	}
	if len(disks) == 0 {
		e.add(CheckBoot, Failure, "", "the machine has no disk")
		return
	}
	esp := slices.ContainsFunc(volumes, func(v volume) bool { return v.esp })
	code := bootCode(disks[0])
	switch uefi := e.m.Boot.Firmware == "uefi"; {
	case uefi && esp:
		e.add(CheckBoot, OK, "", "starts by UEFI, and has an EFI system partition")
	case uefi:
		e.add(CheckBoot, Failure, "grub-install --target=x86_64-efi --removable, on an EFI system partition", "starts by UEFI, and no disk has an EFI system partition")
	case code:
		e.add(CheckBoot, OK, "", "starts by BIOS, and disk %s has a boot sector", disks[0].Name)
	case esp:
		e.add(CheckBoot, Failure, "set the machine's firmware to uefi, or: grub-install --target=i386-pc DISK", "starts by BIOS, and disk %s has a loader for UEFI only", disks[0].Name)
	default:
		e.add(CheckBoot, Failure, "grub-install DISK", "disk %s has no boot sector", disks[0].Name)
	}
}

// system finds the file system that holds Linux.
func (e *examination) system(volumes []volume) *linux {
	var others []string
	for _, v := range volumes {
		if v.fs != nil && (v.fs.Exists("etc/os-release") || v.fs.Exists("usr/lib/os-release")) {
			l := &linux{examination: e, root: v, all: volumes}
			l.release = l.osRelease()
			note := ""
			if v.fs.Unreplayed {
				note = "; what its journal holds was not looked at"
			}
			e.add(CheckSystem, OK, "", "%s on %s%s", l.release.name, v.at, note)
			return l
		}
		if v.kind != "" {
			others = append(others, v.kind+" on "+v.at)
		}
	}
	if slices.ContainsFunc(volumes, func(v volume) bool { return v.kind == "NTFS" || v.kind == "BitLocker" }) {
		e.add(CheckSystem, Unknown, e.p.Windows, "looks like Windows, whose file systems are not read: %s", strings.Join(others, ", "))
		return nil
	}
	if len(others) == 0 {
		others = []string{"nothing that is known"}
	}
	e.add(CheckSystem, Unknown, e.byHand(), "no file system that can be read holds Linux: %s", strings.Join(others, ", "))
	return nil
}

// byHand is what to look at in a guest whose file systems cannot be read from outside.
func (e *examination) byHand() string {
	return fmt.Sprintf("look in the guest: lsinitrd or lsinitramfs lists %s; /proc/cmdline has console=%s; /etc/fstab names no /dev/sd*, /dev/vd*; the network is set up by DHCP, for interfaces of any name",
		strings.Join(e.p.Storage, ", "), e.p.Console)
}
