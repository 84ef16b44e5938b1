package qemu

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"understudy/internal/dr"
)

func TestDefinition(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"vmlinuz", "initrd.gz", "data.raw"} {
		if err := os.WriteFile(filepath.Join(dir, name), make([]byte, 4096), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "shop-db.yaml")
	def, err := parseDefinition(path, []byte(`name: shop-db
cpus: 2
memory: 1GiB
boot: {kernel: vmlinuz, initrd: initrd.gz, cmdline: "console=ttyS0 role=db"}
disks: [{name: data, path: data.raw, format: raw}]
nics: [{network: lan, mac: "52:54:00:00:00:01"}, {network: access, forwards: [{guestPort: 7000}]}]
agent: true
`))
	if err != nil {
		t.Fatal(err)
	}
	if def.CPUs != 2 || def.MemoryMiB != 1024 || !def.Agent || def.Boot.Cmdline != "console=ttyS0 role=db" {
		t.Errorf("machine %+v", def.Machine)
	}
	want := []dr.Disk{
		{Name: "kernel", Size: 4096, Format: "raw", Path: filepath.Join(dir, "vmlinuz"), Role: dr.RoleKernel},
		{Name: "initrd", Size: 4096, Format: "raw", Path: filepath.Join(dir, "initrd.gz"), Role: dr.RoleInitrd},
		{Name: "data", Size: 4096, Format: "raw", Path: filepath.Join(dir, "data.raw")},
	}
	if len(def.Disks) != len(want) {
		t.Fatalf("disks %+v", def.Disks)
	}
	for i := range want {
		if !reflect.DeepEqual(def.Disks[i], want[i]) {
			t.Errorf("disk %+v, want %+v", def.Disks[i], want[i])
		}
	}
	if mac := def.NICs[1].MAC; !strings.HasPrefix(mac, "52:54:00:") {
		t.Errorf("a NIC without an address got %q", mac)
	}
}

func TestDefinitionErrors(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "raw"), make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, yaml, want string }{
		{"unknown field", "name: m\nmemry: 1GiB\n", "m.yaml:2:1: unknown field \"memry\""},
		{"unknown deep field", "name: m\ndisks:\n  - name: a\n    pth: x\n", "m.yaml:4:5: unknown field \"pth\""},
		{"wrong type", "name: m\ncpus: many\n", "m.yaml:2:7: "},
		{"syntax", "name: m\n  cpus: [1\n", "m.yaml:"},
		{"duplicate", "name: m\nname: m\n", "m.yaml:2:1: "},
		{"no name", "cpus: 1\n", "m.yaml:1:1: name: "},
		{"other name", "name: n\n", "m.yaml:1:7: name: \"n\" does not match"},
		{"memory", "name: m\nmemory: lots\n", "m.yaml:2:9: memory: \"lots\" is no amount"},
		{"little memory", "name: m\nmemory: 1MiB\n", "m.yaml:2:9: memory: "},
		{"cpus", "name: m\ncpus: -1\n", "m.yaml:2:7: cpus: "},
		{"firmware", "name: m\nboot: {firmware: coreboot}\n", "m.yaml:2:18: boot.firmware: "},
		{"both boots", "name: m\nboot: {firmware: bios, kernel: raw}\n", "boot.kernel: "},
		{"initrd alone", "name: m\nboot: {initrd: raw}\n", "boot: initrd and cmdline need a kernel"},
		{"missing kernel", "name: m\nboot: {kernel: none}\n", "m.yaml:2:16: boot.kernel: "},
		{"format", "name: m\ndisks: [{name: a, path: raw, format: vdi}]\n", "m.yaml:2:38: disks[0].format: "},
		{"no format", "name: m\ndisks: [{name: a, path: raw}]\n", "disks[0].format: "},
		{"no path", "name: m\ndisks: [{name: a, format: raw}]\n", "disks[0].path: missing"},
		{"missing disk", "name: m\ndisks: [{name: a, path: none, format: raw}]\n", "m.yaml:2:25: disks[0].path: "},
		{"raw as qcow2", "name: m\ndisks: [{name: a, path: raw, format: qcow2}]\n", "is not a qcow2 file"},
		{"same name", "name: m\ndisks: [{name: a, path: raw, format: raw}, {name: a, path: raw, format: raw}]\n", "m.yaml:2:51: disks[1].name: \"a\" is taken"},
		{"reserved name", "name: m\ndisks: [{name: kernel, path: raw, format: raw}]\n", "disks[0].name: \"kernel\" is taken"},
		{"bad disk name", "name: m\ndisks: [{name: \"a,b\", path: raw, format: raw}]\n", "disks[0].name: "},
		{"network", "name: m\nnics: [{network: \"a b\"}]\n", "m.yaml:2:18: nics[0].network: "},
		{"mac", "name: m\nnics: [{network: lan, mac: \"01:00:00:00:00:00\"}]\n", "nics[0].mac: "},
		{"port", "name: m\nnics: [{network: lan, forwards: [{guestPort: 70000}]}]\n", "m.yaml:2:46: nics[0].forwards[0].guestPort: "},
		{"disks", "name: m\ndisks:\n" + strings.Repeat("- {}\n", maxDisks+1), "m.yaml:24:3: disks[21]: 22 disks: a machine of this site has at most 21"},
		{"NICs", "name: m\nnics:\n" + strings.Repeat("- {network: lan}\n", maxNICs+1), "m.yaml:9:3: nics[6]: 7 NICs: a machine of this site has at most 6"},
		{"empty", "", "m.yaml:1:1: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parseDefinition(filepath.Join(dir, "m.yaml"), []byte(tt.yaml))
			if err == nil {
				t.Fatal("no error")
			}
			if !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), dir) {
				t.Errorf("error %q, want one with %q", err, tt.want)
			}
		})
	}
}

// FuzzDefinition: whatever a file holds, reading it ends in a definition or an error with a place.
func FuzzDefinition(f *testing.F) {
	f.Add("name: m\ncpus: 1\n")
	f.Add("name: m\ndisks: [{name: a, path: b, format: raw}]\nnics: [{network: lan, forwards: [{guestPort: 1}]}]\n")
	f.Add("a: &a [*a]\n")
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, src string) {
		path := filepath.Join(dir, "m.yaml")
		if _, err := parseDefinition(path, []byte(src)); err != nil && !strings.HasPrefix(err.Error(), path+":") {
			t.Errorf("error without a place: %v", err)
		}
	})
}

func TestDefinitionFiles(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"missing disk", "name: m\ndisks: [{name: d, path: gone.raw, format: raw}]\n", "m.yaml:2:25: disks[0].path: "},
		{"missing kernel", "name: m\nboot: {kernel: gone}\n", "m.yaml:2:16: boot.kernel: "},
		{"empty", "", "m.yaml:1:1: empty"},
		{"two machines", "name: m\n---\nname: n\n", "more than one document"},
		{"too large", "name: " + strings.Repeat("[", maxDefinition), "larger than"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "m.yaml")
			if err := os.WriteFile(path, []byte(tc.text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := readDefinition(path)
			if err == nil || !strings.Contains(err.Error(), tc.want) || dr.Hint(err) == "" || dr.KindOf(err) != dr.KindInvalid {
				t.Errorf("%v, kind %v, hint %q", err, dr.KindOf(err), dr.Hint(err))
			}
			if errors.Is(err, os.ErrNotExist) {
				t.Error("counts as a machine that does not exist")
			}
		})
	}
}
