package preflight

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"understudy/internal/dr"
	"understudy/internal/site"
	"understudy/test/need"
)

var (
	hyperV = site.Platform{Provider: "azure", Hardware: "Hyper-V", Storage: []string{"hv_vmbus", "hv_storvsc"}, Network: []string{"hv_netvsc"},
		Interfaces: []string{"eth[0-9]"}, Console: "ttyS0", Agent: "waagent", AgentPaths: []string{"usr/sbin/waagent"}}
	virtio = site.Platform{Provider: "qemu", Hardware: "virtio", Storage: []string{"virtio_pci", "virtio_blk"}, Network: []string{"virtio_net"},
		Interfaces: []string{"ens[4-9]", "enp0s[4-9]", "en*"}, KeepsMAC: true, Console: "ttyS0", Agent: "qemu-guest-agent", AgentPaths: []string{"usr/sbin/qemu-ga"}, Kernel: true}
)

const version = "6.1.0-44-amd64"

// files is a machine that starts everywhere.
func files() map[string]string {
	return map[string]string{
		"etc/os-release":                  "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\n",
		"etc/fstab":                       "# <file system>\nUUID=0a1b / ext4 errors=remount-ro 0 1\nLABEL=data /srv ext4 defaults 0 2\n",
		"etc/systemd/network/all.network": "[Match]\nName=e*\n[Network]\nDHCP=yes\n",
		"boot/grub/grub.cfg": "menuentry 'Debian' {\n\tlinux\t/boot/vmlinuz-" + version + " root=UUID=0a1b ro console=tty0 console=ttyS0,115200n8 quiet\n\tinitrd\t/boot/initrd.img-" + version + "\n}\n" +
			"menuentry 'old' {\n linux /boot/vmlinuz-5 root=/dev/sda1\n}\n",
		"boot/vmlinuz-" + version:                         "kernel",
		"usr/lib/modules/" + version + "/modules.builtin": "kernel/drivers/virtio/virtio_pci.ko\n",
		"usr/lib/modules/" + version + "/modules.dep": "kernel/drivers/hv/hv_vmbus.ko.xz:\nkernel/drivers/scsi/hv_storvsc.ko.xz: kernel/drivers/hv/hv_vmbus.ko.xz\n" +
			"kernel/drivers/net/hyperv/hv_netvsc.ko.xz:\nkernel/drivers/net/virtio_net.ko.xz:\nkernel/drivers/block/virtio_blk.ko.xz:\n",
		"usr/sbin/waagent": "#!/bin/sh\n", "usr/sbin/qemu-ga": "x",
	}
}

var everywhere = []string{"hv_vmbus", "hv_storvsc", "virtio-blk"}

func run(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// initramfs is what initramfs-tools makes: microcode in an archive of its own, then the compressed rest.
func initramfs(t *testing.T, compress string, modules []string) []byte {
	t.Helper()
	archive := func(names ...string) []byte {
		dir := t.TempDir()
		for _, n := range names {
			if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(dir, n)), 0o755), os.WriteFile(filepath.Join(dir, n), []byte("content of "+n), 0o644)); err != nil {
				t.Fatal(err)
			}
		}
		var out bytes.Buffer
		cmd := exec.Command("sh", "-c", "find . | cpio --quiet -o -H newc")
		cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, os.Stderr
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	names := []string{"init"}
	for _, m := range modules {
		names = append(names, "usr/lib/modules/"+version+"/kernel/"+m+".ko")
	}
	all := archive("kernel/x86/microcode/GenuineIntel.bin")
	rest := archive(names...)
	var z bytes.Buffer
	var w io.WriteCloser
	switch compress {
	case "zstd":
		w, _ = zstd.NewWriter(&z)
	case "gzip":
		w = gzip.NewWriter(&z)
	default:
		return append(all, compress...)
	}
	if _, err := w.Write(rest); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return append(all, z.Bytes()...)
}

// tree writes files to a folder. A file whose content is empty is left out; one that ends in "@" is a link.
func tree(t *testing.T, files map[string]string) string {
	dir := t.TempDir()
	for name, text := range files {
		if text == "" {
			continue
		}
		file := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("usr/lib", filepath.Join(dir, "lib")); err != nil && !os.IsExist(err) {
		t.Fatal(err)
	}
	return dir
}

const mib = 1 << 20

// disk is a disk with partitions as sfdisk makes them, the first of a file system that holds a folder.
func disk(t *testing.T, dir, script string, code bool, at int64) Disk {
	t.Helper()
	need.Tool(t, "mke2fs", "sfdisk", "cpio")
	tmp := t.TempDir()
	file := filepath.Join(tmp, "disk")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, 24*mib); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sfdisk", "-q", file)
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("sfdisk: %v\n%s", err, out)
	}
	run(t, tmp, "mke2fs", "-q", "-F", "-t", "ext4", "-E", "root_owner=0:0", "-d", dir, "part", "12M")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	part, err := os.ReadFile(filepath.Join(tmp, "part"))
	if err != nil {
		t.Fatal(err)
	}
	copy(data[at:], part)
	if code {
		copy(data, "\xeb\x63\x90GRUB")
	}
	return Disk{Name: "os", ReaderAt: bytes.NewReader(data), Size: int64(len(data))}
}

const (
	dos = "label: dos\nstart=2048,size=12M,type=83\nstart=16M,size=6M,type=5\nstart=17M,size=4M,type=82\n"
	gpt = "label: gpt\nstart=1M,size=4M,type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B\nstart=8M,size=12M,type=L\n"
)

func states(checks []Check) map[string]State {
	out := map[string]State{}
	for _, c := range checks {
		out[c.Name] = c.State
	}
	return out
}

// TestExamine spoils one thing at a time in a machine that starts everywhere.
func TestExamine(t *testing.T) {
	m := dr.Machine{Name: "web", Disks: []dr.Disk{{Name: "os"}}}
	for _, tc := range []struct {
		name    string
		p       site.Platform
		change  map[string]string
		modules []string
		zip     string
		want    map[string]State // other than ok
		remedy  string
	}{
		{name: "to azure", p: hyperV},
		{name: "to qemu", p: virtio},
		{name: "gzip", p: virtio, zip: "gzip"},
		{name: "no storage driver", p: hyperV, modules: []string{"virtio_blk"}, want: map[string]State{CheckStorage: Failure}, remedy: "initramfs-tools/modules"},
		{name: "no virtio", p: virtio, modules: []string{"hv_storvsc", "hv_vmbus"}, want: map[string]State{CheckStorage: Failure}, remedy: "virtio_blk"},
		{name: "built in", p: hyperV, modules: []string{"x"}, change: map[string]string{"usr/lib/modules/" + version + "/modules.builtin": "kernel/drivers/hv/hv_vmbus.ko\nkernel/drivers/scsi/hv_storvsc.ko\n"}},
		{name: "driver in no kernel", p: hyperV, modules: []string{"x"}, change: map[string]string{"usr/lib/modules/" + version + "/modules.dep": "kernel/a.ko:\n"}, want: map[string]State{CheckStorage: Failure, CheckNetwork: Failure}, remedy: "kernel"},
		{name: "unknown compression", p: hyperV, zip: "\xfd7zXZ", want: map[string]State{CheckStorage: Unknown}, remedy: "lsinitramfs"},
		{name: "no console", p: hyperV, change: map[string]string{"boot/grub/grub.cfg": "linux /boot/vmlinuz-" + version + " root=UUID=1 quiet\ninitrd /boot/initrd.img-" + version}, want: map[string]State{CheckConsole: Warning}, remedy: "console=ttyS0"},
		{name: "root by name", p: hyperV, change: map[string]string{"boot/grub/grub.cfg": "linux /boot/vmlinuz-" + version + " root=/dev/vda1 console=ttyS0\ninitrd /boot/initrd.img-" + version}, want: map[string]State{CheckRoot: Failure}, remedy: "UUID"},
		{name: "fstab by name", p: hyperV, change: map[string]string{"etc/fstab": "/dev/vda1 / ext4 defaults 0 1\n"}, want: map[string]State{CheckFstab: Failure}, remedy: "UUID="},
		{name: "fstab swap", p: hyperV, change: map[string]string{"etc/fstab": "UUID=1 / ext4 defaults 0 1\n/dev/vdb none swap sw 0 0\n/dev/sdc1 /mnt auto defaults,nofail 0 0\n"}, want: map[string]State{CheckFstab: Warning}},
		{name: "netplan for a name", p: hyperV, change: map[string]string{"etc/systemd/network/all.network": "", "etc/netplan/50.yaml": "network:\n  version: 2\n  ethernets:\n    enp0s4:\n      dhcp4: true\n"}, want: map[string]State{CheckDHCP: Failure}, remedy: "any name"},
		{name: "netplan of azure", p: virtio, change: map[string]string{"etc/systemd/network/all.network": "", "etc/netplan/50.yaml": "network:\n  version: 2\n  ethernets:\n    eth0:\n      dhcp4: true\n      match:\n        driver: hv_netvsc\n        macaddress: 00:0d:3a:00:00:01\n      set-name: eth0\n"}, want: map[string]State{CheckDHCP: Failure}},
		{name: "netplan for all", p: hyperV, change: map[string]string{"etc/systemd/network/all.network": "", "etc/netplan/50.yaml": "network:\n  ethernets:\n    all:\n      match: {name: \"e*\"}\n      dhcp4: true\n"}},
		{name: "by address", p: hyperV, change: map[string]string{"etc/systemd/network/all.network": "[Match]\nMACAddress=52:54:00:00:00:01\n[Network]\nDHCP=yes\n"}, want: map[string]State{CheckDHCP: Failure}},
		{name: "by address that stays", p: virtio, change: map[string]string{"etc/systemd/network/all.network": "[Match]\nMACAddress=52:54:00:00:00:01\n[Network]\nDHCP=yes\n"}},
		{name: "fixed address", p: hyperV, change: map[string]string{"etc/systemd/network/all.network": "", "etc/network/interfaces": "auto lo\niface lo inet loopback\niface eth0 inet static\n address 10.0.0.4/24\n"}, want: map[string]State{CheckDHCP: Warning}},
		{name: "ifupdown of another name", p: hyperV, change: map[string]string{"etc/systemd/network/all.network": "", "etc/network/interfaces": "iface ens4 inet dhcp\n"}, want: map[string]State{CheckDHCP: Failure}},
		{name: "no network", p: hyperV, change: map[string]string{"etc/systemd/network/all.network": ""}, want: map[string]State{CheckDHCP: Unknown}},
		{name: "no agent", p: hyperV, change: map[string]string{"usr/sbin/waagent": ""}, want: map[string]State{CheckAgent: Warning}, remedy: "waagent"},
		{name: "no boot loader", p: hyperV, change: map[string]string{"boot/grub/grub.cfg": ""}, want: map[string]State{CheckRoot: Unknown, CheckConsole: Unknown}},
		{name: "red hat", p: hyperV, modules: []string{"virtio_blk"}, change: map[string]string{"etc/os-release": "ID=\"rhel\"\nID_LIKE=\"fedora\"\n", "boot/grub/grub.cfg": "set x=y\n",
			"boot/loader/entries/a-5.9.conf":  "linux /vmlinuz-5.9\noptions root=/dev/sda1\n",
			"boot/loader/entries/a-5.14.conf": "title RHEL\nlinux /vmlinuz-" + version + "\ninitrd /initrd.img-" + version + " $tuned_initrd\noptions $kernelopts\n",
			"boot/grub2/grubenv":              "# GRUB Environment Block\nkernelopts=root=UUID=1 ro\n"},
			want: map[string]State{CheckStorage: Failure, CheckConsole: Warning}, remedy: "dracut"},
		{name: "alpine", p: virtio, change: map[string]string{"boot/grub/grub.cfg": "", "boot/extlinux.conf": "DEFAULT menu.c32\nLABEL lts\n  LINUX vmlinuz-" + version + "\n  INITRD initrd.img-" + version + "\n  APPEND root=UUID=1 console=ttyS0,115200\n"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			need.Tool(t, "cpio")
			all := files()
			for k, v := range tc.change {
				all[k] = v
			}
			if tc.modules == nil {
				tc.modules = everywhere
			}
			if tc.zip == "" {
				tc.zip = "zstd"
			}
			all["boot/initrd.img-"+version] = string(initramfs(t, tc.zip, tc.modules))
			checks := Examine(t.Context(), tc.p, m, []Disk{disk(t, tree(t, all), dos, true, mib)})
			if len(checks) != 9 {
				t.Errorf("%d checks: %+v", len(checks), checks)
			}
			found := tc.remedy == ""
			for _, c := range checks {
				want := tc.want[c.Name]
				if want == "" {
					want = OK
				}
				if c.State != want || c.Machine != "web" || c.Message == "" || (c.State == OK) != (c.Remedy == "") {
					t.Errorf("%s is %s, want %s: %s (%s)", c.Name, c.State, want, c.Message, c.Remedy)
				}
				found = found || strings.Contains(c.Remedy, tc.remedy)
			}
			if !found {
				t.Errorf("no remedy says %q: %+v", tc.remedy, checks)
			}
		})
	}
}

// TestBootMode: how a machine starts must be what its disk is made for.
func TestBootMode(t *testing.T) {
	need.Tool(t, "cpio")
	all := files()
	all["boot/initrd.img-"+version] = string(initramfs(t, "gzip", everywhere))
	dir := tree(t, all)
	bios, uefi := disk(t, dir, dos, true, mib), disk(t, dir, gpt, false, 8*mib)
	kernel := []dr.Disk{{Name: "kernel", Role: dr.RoleKernel}}
	for _, tc := range []struct {
		name     string
		d        Disk
		firmware string
		disks    []dr.Disk
		p        site.Platform
		want     State
	}{
		{"bios", bios, "", nil, hyperV, OK},
		{"bios disk by uefi", bios, "uefi", nil, hyperV, Failure},
		{"uefi", uefi, "uefi", nil, hyperV, OK},
		{"uefi disk by bios", uefi, "bios", nil, virtio, Failure},
		{"kernel", bios, "", kernel, hyperV, Failure},
		{"kernel at qemu", bios, "", kernel, virtio, OK},
		{"no boot sector", disk(t, dir, dos, false, mib), "", nil, hyperV, Failure},
	} {
		checks := Examine(t.Context(), tc.p, dr.Machine{Name: "m", Boot: dr.Boot{Firmware: tc.firmware}, Disks: tc.disks}, []Disk{tc.d})
		if s := states(checks); s[CheckBoot] != tc.want || s[CheckSystem] != OK {
			t.Errorf("%s: %+v", tc.name, checks)
		}
	}
}

// TestSeparateBoot finds the boot folder on a partition of its own, and on a disk without partitions.
func TestSeparateBoot(t *testing.T) {
	need.Tool(t, "cpio")
	all := files()
	cfg := strings.ReplaceAll(all["boot/grub/grub.cfg"], "/boot/", "/")
	all["boot/grub/grub.cfg"], all["boot/vmlinuz-"+version] = "", ""
	root := disk(t, tree(t, all), dos, true, mib)
	boot := disk(t, tree(t, map[string]string{"grub/grub.cfg": cfg, "initrd.img-" + version: string(initramfs(t, "zstd", everywhere))}), "label: dos\n", false, 0)
	boot.Name = "boot"
	checks := Examine(t.Context(), hyperV, dr.Machine{Name: "m"}, []Disk{root, boot})
	if Worst(checks) != OK {
		t.Errorf("%+v", checks)
	}
}

// TestUnreadable says what to look at by hand.
func TestUnreadable(t *testing.T) {
	for magic, want := range map[string]struct {
		at   int
		name string
	}{"LABELONE": {512, "LVM"}, "LUKS\xba\xbe": {0, "LUKS"}, "XFSB": {0, "XFS"}, "_BHRfS_M": {0x10040, "btrfs"}, "NTFS    ": {3, "Windows"}} {
		data := make([]byte, 2*mib)
		copy(data[want.at:], magic)
		checks := Examine(t.Context(), hyperV, dr.Machine{Name: "m"}, []Disk{{Name: "os", ReaderAt: bytes.NewReader(data), Size: int64(len(data))}})
		last := checks[len(checks)-1]
		if last.Name != CheckSystem || last.State != Unknown || !strings.Contains(last.Message, want.name) || last.Remedy == "" && want.name != "Windows" {
			t.Errorf("%s: %+v", want.name, checks)
		}
	}
	checks := Examine(t.Context(), hyperV, dr.Machine{Name: "m"}, []Disk{{Name: "os", ReaderAt: failing{}, Size: mib}})
	if Worst(checks) != Unknown {
		t.Errorf("%+v", checks)
	}
}

type failing struct{}

func (failing) ReadAt([]byte, int64) (int, error) { return 0, errors.New("no") }

// FuzzScan spoils partition tables.
func FuzzScan(f *testing.F) {
	f.Add([]byte("EFI PART"), uint16(512))
	f.Fuzz(func(t *testing.T, p []byte, at uint16) {
		data := make([]byte, mib)
		data[510], data[511] = 0x55, 0xaa
		copy(data[at:], p)
		_, _ = scan(Disk{Name: "d", ReaderAt: bytes.NewReader(data), Size: mib})
	})
}

// FuzzArchive spoils an initramfs.
func FuzzArchive(f *testing.F) {
	f.Add([]byte("070701"))
	f.Fuzz(func(t *testing.T, p []byte) { _ = archived(p, func(string) {}) })
}
