package qemu

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"

	"understudy/internal/dr"
)

// definition is a machine's YAML file, read and checked.
type definition struct {
	dr.Machine
	Isolation string
	// Provisioned is set when Provision made the machine.
	Provisioned *provisioned
	// Layers are the disks whose content Preserve keeps: Path and Format of such a disk are its layer's.
	Layers map[string]layer
}

// provisioned says for whom a machine was made, and of which request.
type provisioned struct {
	Owner   string `yaml:"owner,omitempty"`
	Request string `yaml:"request"` // digest of the request without its sources
}

// The file, field by field.
type (
	fileDef struct {
		Name        string            `yaml:"name"`
		CPUs        int               `yaml:"cpus,omitempty"`
		Memory      string            `yaml:"memory,omitempty"`
		Boot        fileBoot          `yaml:"boot,omitempty"`
		Disks       []fileDisk        `yaml:"disks,omitempty"`
		NICs        []fileNIC         `yaml:"nics,omitempty"`
		Agent       bool              `yaml:"agent,omitempty"`
		Tags        map[string]string `yaml:"tags,omitempty"`
		Isolation   string            `yaml:"isolation,omitempty"`
		Provisioned *provisioned      `yaml:"provisioned,omitempty"`
	}
	fileBoot struct {
		Firmware string `yaml:"firmware,omitempty"`
		Kernel   string `yaml:"kernel,omitempty"`
		Initrd   string `yaml:"initrd,omitempty"`
		Cmdline  string `yaml:"cmdline,omitempty"`
	}
	fileDisk struct {
		Name   string `yaml:"name"`
		Path   string `yaml:"path"`
		Format string `yaml:"format"`
	}
	fileNIC struct {
		Network  string        `yaml:"network"`
		MAC      string        `yaml:"mac,omitempty"`
		Forwards []fileForward `yaml:"forwards,omitempty"`
	}
	fileForward struct {
		HostPort  int `yaml:"hostPort,omitempty"`
		GuestPort int `yaml:"guestPort"`
	}
)

// nameRule keeps names usable as file names, QEMU identifiers and host names.
var nameRule = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?$`)

func checkName(name string) error {
	if !nameRule.MatchString(name) {
		return fmt.Errorf("name %q: use 1 to 63 letters, digits, '-' and '_', beginning and ending with a letter or digit", name)
	}
	return nil
}

func (d *Driver) definitionPath(name string) string {
	return filepath.Join(d.cfg.Dir, "machines", name+".yaml")
}

// readDefinition reads and checks a definition and looks up the sizes of its disks.
func readDefinition(path string) (*definition, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("machine definition: %w", err)
	}
	defer f.Close() //nolint:errcheck // read only
	b, err := io.ReadAll(io.LimitReader(f, maxDefinition+1))
	if err != nil {
		return nil, fmt.Errorf("machine definition: %w", err)
	}
	if len(b) > maxDefinition {
		return nil, dr.WithHint(fmt.Errorf("%s: larger than %d bytes, so no machine definition", path, maxDefinition), dr.KindInvalid, "move it away")
	}
	def, err := parseDefinition(path, b)
	if errors.Is(err, fs.ErrNotExist) {
		// A file that it names is missing, not the machine.
		return nil, dr.WithHint(errors.New(err.Error()), dr.KindInvalid, dr.Hint(err))
	}
	return def, err
}

// maxDefinition is many times the size of a real definition: the parser's work on hostile text grows faster than the text.
const maxDefinition = 16 << 10

// parser turns a file into a definition and collects what is wrong with it, each with its place.
type parser struct {
	path string
	src  []byte
	errs []error
}

func parseDefinition(path string, src []byte) (*definition, error) {
	var f fileDef
	dec := yaml.NewDecoder(bytes.NewReader(src), yaml.Strict(), yaml.DisallowUnknownField())
	if err := dec.Decode(&f); err != nil {
		return nil, yamlError(path, err)
	}
	if err := dec.Decode(&fileDef{}); !errors.Is(err, io.EOF) {
		return nil, dr.WithHint(fmt.Errorf("%s: more than one document", path), dr.KindInvalid, "write each machine to a file of its own")
	}
	p := &parser{path: path, src: src}
	def := p.machine(f)
	if err := errors.Join(p.errs...); err != nil {
		return nil, err
	}
	return def, nil
}

// bad records an error at a YAML path such as $.disks[0].path; hint helps the reader to mend it.
func (p *parser) bad(at, hint, format string, args ...any) {
	place := p.path + p.position(at)
	field := strings.TrimPrefix(at, "$.")
	err := fmt.Errorf("%s: %s: %w", place, field, fmt.Errorf(format, args...))
	p.errs = append(p.errs, dr.WithHint(err, dr.KindInvalid, hint))
}

// position finds ":line:column" of a YAML path, or of the nearest parent that the file has.
func (p *parser) position(at string) string {
	for at != "" && at != "$" {
		if path, err := yaml.PathString(at); err == nil {
			if node, err := path.ReadNode(bytes.NewReader(p.src)); err == nil && node.GetToken() != nil {
				pos := node.GetToken().Position
				return fmt.Sprintf(":%d:%d", pos.Line, pos.Column)
			}
		}
		at = at[:max(strings.LastIndexAny(at, ".["), 0)]
	}
	return ":1:1"
}

func (p *parser) machine(f fileDef) *definition {
	def := &definition{Isolation: f.Isolation, Provisioned: f.Provisioned}
	m := &def.Machine
	m.Name, m.CPUs, m.Agent, m.Tags, m.Provider = f.Name, f.CPUs, f.Agent, f.Tags, "qemu"
	want := strings.TrimSuffix(filepath.Base(p.path), ".yaml")
	switch {
	case checkName(f.Name) != nil:
		p.bad("$.name", "name: "+want, "%w", checkName(f.Name))
	case f.Name != want:
		p.bad("$.name", "rename the file or the machine", "%q does not match the file's name", f.Name)
	}
	if m.CPUs == 0 {
		m.CPUs = 1
	}
	if m.CPUs < 0 || m.CPUs > 255 {
		p.bad("$.cpus", "cpus: 1", "%d is not between 1 and 255", f.CPUs)
	}
	m.MemoryMiB = 256
	if f.Memory != "" {
		mib, err := parseMiB(f.Memory)
		if err != nil {
			p.bad("$.memory", "memory: 512MiB", "%w", err)
		}
		m.MemoryMiB = mib
	}
	p.boot(f.Boot, m)
	seen := map[string]bool{"kernel": true, "initrd": true}
	if n := len(f.Disks); n > maxDisks {
		p.bad(fmt.Sprintf("$.disks[%d]", maxDisks), "spread the data over fewer disks", "%s", tooMany(n, maxDisks, "disks"))
	}
	if n := len(f.NICs); n > maxNICs {
		p.bad(fmt.Sprintf("$.nics[%d]", maxNICs), "put forwards of one network on one NIC", "%s", tooMany(n, maxNICs, "NICs"))
	}
	for i, d := range f.Disks {
		p.disk(fmt.Sprintf("$.disks[%d]", i), d, seen, m)
	}
	for i, n := range f.NICs {
		p.nic(fmt.Sprintf("$.nics[%d]", i), i, n, m)
	}
	return def
}

func tooMany(n, limit int, what string) string {
	return fmt.Sprintf("%d %s: a machine of this site has at most %d", n, what, limit)
}

func (p *parser) boot(b fileBoot, m *dr.Machine) {
	m.Boot = dr.Boot{Firmware: b.Firmware, Cmdline: b.Cmdline}
	switch {
	case b.Firmware != "" && b.Firmware != "bios" && b.Firmware != "uefi":
		p.bad("$.boot.firmware", "firmware: bios", "%q is neither bios nor uefi", b.Firmware)
	case b.Firmware != "" && b.Kernel != "":
		p.bad("$.boot.kernel", "remove firmware or kernel", "a machine boots by firmware or by kernel, not both")
	case b.Kernel == "" && (b.Initrd != "" || b.Cmdline != ""):
		p.bad("$.boot", "add kernel: vmlinuz", "initrd and cmdline need a kernel")
	}
	files := []struct {
		at, path string
		role     dr.DiskRole
	}{{"$.boot.kernel", b.Kernel, dr.RoleKernel}, {"$.boot.initrd", b.Initrd, dr.RoleInitrd}}
	for _, f := range files {
		if f.path == "" {
			continue
		}
		d := dr.Disk{Name: string(f.role), Format: "raw", Path: p.abs(f.path), Role: f.role}
		st, err := os.Stat(d.Path)
		if err != nil {
			p.bad(f.at, "paths are relative to the definition's folder", "%w", err)
			continue
		}
		d.Size = st.Size()
		m.Disks = append(m.Disks, d)
	}
}

func (p *parser) disk(at string, d fileDisk, seen map[string]bool, m *dr.Machine) {
	switch {
	case checkName(d.Name) != nil:
		p.bad(at+".name", "name: data", "%w", checkName(d.Name))
	case len(d.Name) > maxDiskName:
		p.bad(at+".name", "name: data", "%q is longer than %d characters", d.Name, maxDiskName)
	case seen[d.Name]:
		p.bad(at+".name", "give each disk a name of its own", "%q is taken", d.Name)
	}
	seen[d.Name] = true
	out := dr.Disk{Name: d.Name, Format: d.Format, Path: p.abs(d.Path)}
	switch {
	case d.Format != "raw" && d.Format != "qcow2":
		// Never guessed: a guest could write a qcow2 header on its raw disk and have QEMU open any file.
		p.bad(at+".format", "format: qcow2", "%q is neither raw nor qcow2", d.Format)
	case d.Path == "":
		p.bad(at+".path", "path: "+d.Name+"."+d.Format, "missing")
	default:
		info, err := readImage(out.Path, out.Format)
		if err != nil {
			p.bad(at+".path", "paths are relative to the definition's folder; make a disk: qemu-img create -f "+d.Format+" FILE 10G", "%w", err)
		}
		out.Size = info.Size
	}
	m.Disks = append(m.Disks, out)
}

// maxDiskName keeps "disk-" and "file-" before it within QEMU's 31 bytes of a node name.
const maxDiskName = 26

func (p *parser) nic(at string, i int, n fileNIC, m *dr.Machine) {
	out := dr.NIC{Network: n.Network, MAC: strings.ToLower(n.MAC)}
	if err := checkName(n.Network); err != nil {
		p.bad(at+".network", "network: lan", "%w", err)
	}
	if n.MAC == "" {
		out.MAC = defaultMAC(m.Name, i)
	} else if hw, err := net.ParseMAC(n.MAC); err != nil || len(hw) != 6 || hw[0]&1 != 0 {
		p.bad(at+".mac", `mac: "`+defaultMAC(m.Name, i)+`"`, "%q is not the address of one Ethernet card", n.MAC)
	}
	for j, f := range n.Forwards {
		where := fmt.Sprintf("%s.forwards[%d]", at, j)
		if f.GuestPort < 1 || f.GuestPort > 65535 {
			p.bad(where+".guestPort", "guestPort: 22", "%d is not a TCP port", f.GuestPort)
		}
		if f.HostPort < 0 || f.HostPort > 65535 {
			p.bad(where+".hostPort", "hostPort: 0 lets the site choose", "%d is not a TCP port", f.HostPort)
		}
		out.Forwards = append(out.Forwards, dr.Forward{HostPort: f.HostPort, GuestPort: f.GuestPort})
	}
	m.NICs = append(m.NICs, out)
}

func (p *parser) abs(path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(p.path), path)
}

// defaultMAC is a stable address of the NIC in the range that QEMU uses.
func defaultMAC(machine string, nic int) string {
	h := sha256.Sum256(fmt.Appendf(nil, "%s/%d", machine, nic))
	return fmt.Sprintf("52:54:00:%02x:%02x:%02x", h[0], h[1], h[2])
}

// parseMiB reads "512MiB", "2GiB" or "512" (MiB).
func parseMiB(s string) (int, error) {
	unit, num := 1, strings.TrimSpace(s)
	for suffix, u := range map[string]int{"MiB": 1, "GiB": 1024, "M": 1, "G": 1024} {
		if n, ok := strings.CutSuffix(num, suffix); ok {
			unit, num = u, strings.TrimSpace(n)
			break
		}
	}
	n, err := strconv.Atoi(num)
	if err != nil || n <= 0 || n > math.MaxInt32/unit {
		return 0, fmt.Errorf("%q is no amount of memory", s)
	}
	if n*unit < 16 {
		return 0, fmt.Errorf("%q is less than 16MiB", s)
	}
	return n * unit, nil
}

// yamlError gives a decoder's error the form file:line:column: message.
func yamlError(path string, err error) error {
	hint := "see the fields of a machine definition: understudy machine --help"
	if errors.Is(err, io.EOF) {
		return dr.WithHint(fmt.Errorf("%s:1:1: empty", path), dr.KindInvalid, hint)
	}
	var ye yaml.Error
	if errors.As(err, &ye) && ye.GetToken() != nil {
		pos := ye.GetToken().Position
		return dr.WithHint(fmt.Errorf("%s:%d:%d: %s", path, pos.Line, pos.Column, ye.GetMessage()), dr.KindInvalid, hint)
	}
	return dr.WithHint(fmt.Errorf("%s:1:1: %w", path, err), dr.KindInvalid, hint)
}
