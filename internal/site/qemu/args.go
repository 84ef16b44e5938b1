package qemu

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"understudy/internal/dr"
)

const machineType = "q35"

// Slots of the PCI root bus. They are fixed, so that a guest finds each device where it was, whatever else the machine
// has or loses. Slots 0 and 31 are the chipset's.
const (
	slotVGA      = 1
	slotRNG      = 2
	slotChannels = 3
	slotNICs     = 4 // 6 of them
	slotDisks    = 10
	slotEnd      = 31

	maxNICs  = slotDisks - slotNICs
	maxDisks = slotEnd - slotDisks
)

// launch is what a start of a machine needs beside its definition.
type launch struct {
	def      *definition
	accel    string
	pidfile  string
	console  string
	efivars  string // of this machine, for firmware uefi
	forwards []forward
	switches map[string]string // network to socket
	monitor  int               // file descriptors of the listening sockets in the child
	agent    int
	services []Service
	connect  []string // command that joins a guest to one
}

// arguments is QEMU's command line.
func (l launch) arguments() ([]string, error) {
	m := l.def.Machine
	args := []string{
		"-name", m.Name + ",debug-threads=on",
		"-nodefaults", "-no-user-config", "-display", "none",
		"-machine", machineType + ",hpet=off,smm=off,vmport=off",
		"-m", strconv.Itoa(m.MemoryMiB),
		"-smp", strconv.Itoa(m.CPUs),
		"-pidfile", l.pidfile,
		"-chardev", fmt.Sprintf("socket,id=monitor,fd=%d,server=on,wait=off", l.monitor),
		"-mon", "chardev=monitor,mode=control",
		"-chardev", "file,id=console,append=on,path=" + comma(l.console),
		"-serial", "chardev:console",
		"-object", "rng-random,id=rng,filename=/dev/urandom",
		"-device", fmt.Sprintf("virtio-rng-pci,rng=rng,addr=%#x", slotRNG),
	}
	args = append(args, accelArgs(l.accel)...)
	if m.Agent {
		args = append(args,
			"-device", fmt.Sprintf("virtio-serial-pci,id=channels,addr=%#x", slotChannels),
			"-chardev", fmt.Sprintf("socket,id=agent,fd=%d,server=on,wait=off", l.agent),
			"-device", "virtserialport,bus=channels.0,chardev=agent,name=org.qemu.guest_agent.0")
	}
	args, err := l.boot(args)
	if err != nil {
		return nil, err
	}
	slot := slotDisks
	for _, d := range m.Disks {
		if d.Role != dr.RoleDisk {
			continue
		}
		drive, err := l.drive(d)
		if err != nil {
			return nil, err
		}
		serial := d.Name[:min(len(d.Name), 20)] // what virtio-blk can carry
		args = append(args, drive...)
		args = append(args, "-device", fmt.Sprintf("virtio-blk-pci,id=%s,drive=%s,serial=%s,addr=%#x,bootindex=%d",
			deviceID(d.Name), formatNode(d.Name), serial, slot, slot-slotDisks+1))
		slot++
	}
	if len(l.services) > 0 && len(l.connect) == 0 {
		return nil, dr.WithHint(errors.New("the site has no connect command"), dr.KindInvalid, "remove the site's services, or set its connect command")
	}
	for i, n := range m.NICs {
		args = append(args, "-netdev", l.netdev(i, n),
			"-device", fmt.Sprintf("virtio-net-pci,netdev=net%d,mac=%s,addr=%#x,romfile=", i, n.MAC, slotNICs+i))
	}
	return args, nil
}

// Names of a disk's parts in QEMU. Capture relies on them.
func formatNode(disk string) string   { return "disk-" + disk }
func protocolNode(disk string) string { return "file-" + disk }
func deviceID(disk string) string     { return "dev-" + disk }

// Names of the parts of a disk below a layer, and of the filter that QEMU needs while the layer is taken in.
func keptNode(disk string) string     { return "kept-" + disk }
func keptFileNode(disk string) string { return "orig-" + disk }
func switchNode(disk string) string   { return "swap-" + disk }

// boot adds how the machine starts, and the screen on which firmware and boot loaders speak.
func (l launch) boot(args []string) ([]string, error) {
	direct := false
	for _, d := range l.def.Disks {
		switch d.Role {
		case dr.RoleKernel:
			direct = true
			args = append(args, "-kernel", d.Path)
		case dr.RoleInitrd:
			args = append(args, "-initrd", d.Path)
		}
	}
	args = append(args, "-vga", "none", "-device", fmt.Sprintf("VGA,addr=%#x", slotVGA))
	if direct {
		if l.def.Boot.Cmdline != "" {
			args = append(args, "-append", l.def.Boot.Cmdline)
		}
		return args, nil
	}
	if l.def.Boot.Firmware != "uefi" {
		return args, nil
	}
	code, vars, err := findUEFI()
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(l.efivars); err != nil {
		b, err := os.ReadFile(vars)
		if err == nil {
			err = writeFile(l.efivars, b)
		}
		if err != nil {
			return nil, fmt.Errorf("uefi variables: %w", err)
		}
	}
	return append(args,
		"-drive", "if=pflash,unit=0,format=raw,readonly=on,file="+comma(code),
		"-drive", "if=pflash,unit=1,format=raw,file="+comma(l.efivars)), nil
}

// findUEFI looks for the firmware and its empty variable store where distributions put them.
func findUEFI() (code, vars string, err error) {
	pairs := [][2]string{
		{"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"},
		{"/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"},
		{"/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"},
		{"/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"},
	}
	for _, p := range pairs {
		if _, err := os.Stat(p[0]); err == nil {
			return p[0], p[1], nil
		}
	}
	return "", "", dr.WithHint(fmt.Errorf("no UEFI firmware found"), dr.KindUnavailable, "apt-get install ovmf")
}

// drive is the block graph of a disk: a protocol node with the format on top, below a layer another such pair. Guest
// flushes reach the file; QEMU keeps no cache that a flush does not empty.
func (l launch) drive(d dr.Disk) ([]string, error) {
	top := map[string]any{"node-name": formatNode(d.Name), "driver": d.Format, "file": protocolNode(d.Name), "discard": "unmap"}
	var nodes []map[string]any
	if below, ok := l.def.Layers[d.Name]; ok {
		nodes = []map[string]any{
			{"node-name": keptFileNode(d.Name), "driver": fileDriver(below.Path), "filename": below.Path, "discard": "unmap", "auto-read-only": true},
			{"node-name": keptNode(d.Name), "driver": below.Format, "file": keptFileNode(d.Name), "discard": "unmap", "read-only": true},
		}
		top["backing"] = keptNode(d.Name)
	}
	nodes = append(nodes, map[string]any{"node-name": protocolNode(d.Name), "driver": fileDriver(d.Path), "filename": d.Path, "discard": "unmap"}, top)
	var args []string
	for _, n := range nodes {
		b, err := json.Marshal(n)
		if err != nil {
			return nil, fmt.Errorf("disk %s: %w", d.Name, err)
		}
		args = append(args, "-blockdev", string(b))
	}
	return args, nil
}

func fileDriver(path string) string {
	if st, err := os.Stat(path); err == nil && st.Mode()&os.ModeDevice != 0 {
		return "host_device"
	}
	return "file"
}

// netdev connects a card: to the host's loopback ports when it has forwards, else to its network's switch.
func (l launch) netdev(i int, n dr.NIC) string {
	if len(n.Forwards) == 0 {
		return fmt.Sprintf("stream,id=net%d,server=off,addr.type=unix,addr.path=%s", i, comma(l.switches[n.Network]))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "user,id=net%d,restrict=on%s", i, l.guestForwards())
	for _, f := range l.forwards {
		if f.NIC == i {
			fmt.Fprintf(&b, ",hostfwd=tcp:127.0.0.1:%d-:%d", f.HostPort, f.GuestPort)
		}
	}
	return b.String()
}

// comma escapes a value of QEMU's option syntax.
func comma(s string) string { return strings.ReplaceAll(s, ",", ",,") }

func (m *machine) efivars() string { return filepath.Join(m.d.cfg.Dir, "disks", m.name, "efivars.fd") }

// accelArgs choose an accelerator, and the best processor that it can show to guests.
func accelArgs(accel string) []string {
	if accel == "tcg" {
		// Five-level page tables cost an emulated guest much and give it nothing.
		return []string{"-accel", "tcg,thread=multi", "-cpu", "max,la57=off"}
	}
	return []string{"-accel", accel, "-cpu", "host"}
}
