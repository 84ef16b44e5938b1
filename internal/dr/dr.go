// Package dr holds the nouns of Understudy and the rules between them that need no input or output.
// It imports the standard library only, reads no clock and keeps no state: every other package speaks in its words.
package dr

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// BlockSize is the granularity, in bytes, at which changes are compared and stored.
// Disk sizes that are no multiple of it end in a short block, which is stored padded with zeros.
const BlockSize = 4096

// A Site is a place where machines run.
type Site struct {
	Name     string            `json:"name"`
	Provider string            `json:"provider"` // qemu, image, ...
	Config   map[string]string `json:"config,omitempty"`
}

// A Machine is the full description of a virtual machine: what a site needs to run it again elsewhere.
type Machine struct {
	Name      string            `json:"name"`
	CPUs      int               `json:"cpus,omitempty"`
	MemoryMiB int               `json:"memoryMiB,omitempty"`
	Boot      Boot              `json:"boot,omitzero"`
	Disks     []Disk            `json:"disks"`
	NICs      []NIC             `json:"nics,omitempty"`
	Agent     bool              `json:"agent,omitempty"` // a QEMU guest agent listens on the agent channel
	Tags      map[string]string `json:"tags,omitempty"`
	Provider  string            `json:"provider,omitempty"` // provider of the site it was described by
	Power     Power             `json:"power,omitempty"`    // as observed; not part of what is recovered
	Owner     string            `json:"owner,omitempty"`    // run that created it, as observed; not part of what is recovered

	// Attributes are what only its provider understands, such as "azure.size"; other providers carry them along.
	Attributes map[string]string `json:"attributes,omitempty"`

	// Extensions is the inventory of software that must be present and healthy in the machine, as last observed.
	Extensions []Extension `json:"extensions,omitempty"`
}

// Boot says how a machine starts: by firmware from its first disk or, when it has a disk of RoleKernel, directly.
type Boot struct {
	Firmware string `json:"firmware,omitempty"` // bios (default) or uefi
	Cmdline  string `json:"cmdline,omitempty"`  // kernel command line for a direct boot
}

// A Disk is one virtual disk of a machine. Name is unique within its machine and stable over time.
type Disk struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"` // virtual size in bytes
	Format string `json:"format,omitempty"`
	Path   string `json:"path,omitempty"` // where the site keeps it; informative

	// Role says what the bytes are for: empty for a disk of the guest; kernel or initrd for a file that the hypervisor
	// boots the machine from, carried like a disk so that the machine can start where that file does not exist.
	Role DiskRole `json:"role,omitempty"`

	Attributes map[string]string `json:"attributes,omitempty"` // as those of a Machine
}

// DiskRole is the purpose of a Disk.
type DiskRole string

// Disk roles.
const (
	RoleDisk   DiskRole = ""
	RoleKernel DiskRole = "kernel"
	RoleInitrd DiskRole = "initrd"
)

// A NIC is one network card. Network names a network of the site; the same name at another site is its counterpart.
type NIC struct {
	Network  string    `json:"network"`
	MAC      string    `json:"mac,omitempty"`
	Forwards []Forward `json:"forwards,omitempty"`

	Attributes map[string]string `json:"attributes,omitempty"` // as those of a Machine
}

// A Forward makes a guest's TCP port reachable on the loopback address of the site's host.
// HostPort 0 lets the site choose.
type Forward struct {
	HostPort  int `json:"hostPort,omitempty"`
	GuestPort int `json:"guestPort"`
}

// Power is the observed power state of a machine.
type Power string

// Power states.
const (
	PowerOn      Power = "on"
	PowerOff     Power = "off"
	PowerPaused  Power = "paused"
	PowerUnknown Power = "unknown"
)

// A DiskID names a disk within a group.
type DiskID struct {
	Machine string `json:"machine"`
	Disk    string `json:"disk"`
}

// String returns machine/disk.
func (d DiskID) String() string { return d.Machine + "/" + d.Disk }

// Compare orders disk names: by machine, then by disk.
func (d DiskID) Compare(e DiskID) int {
	if c := strings.Compare(d.Machine, e.Machine); c != 0 {
		return c
	}
	return strings.Compare(d.Disk, e.Disk)
}

// An Extent is a byte range of a disk. Zero says that it is known to read as zeros.
type Extent struct {
	Offset int64 `json:"offset"`
	Length int64 `json:"length"`
	Zero   bool  `json:"zero,omitempty"`
}

// End is the first byte after the extent.
func (e Extent) End() int64 { return e.Offset + e.Length }

// A Position is a place in a group's history. Epoch rises with every change of owner, Sequence by one with every
// segment of the group (it does not restart with an epoch), and Chain is the checksum of the history up to here,
// so that two histories which forked have different positions. The zero Position is before all history.
type Position struct {
	Epoch    uint64   `json:"epoch"`
	Sequence uint64   `json:"sequence"`
	Chain    [16]byte `json:"-"`
}

// ID is the position as a recovery point's name: epoch and sequence, as in "1-42".
func (p Position) ID() string { return fmt.Sprintf("%d-%d", p.Epoch, p.Sequence) }

// IsZero reports whether the position is before all history.
func (p Position) IsZero() bool { return p == Position{} }

// Compare orders positions by epoch and sequence.
func (p Position) Compare(q Position) int {
	switch {
	case p.Epoch != q.Epoch:
		if p.Epoch < q.Epoch {
			return -1
		}
		return 1
	case p.Sequence < q.Sequence:
		return -1
	case p.Sequence > q.Sequence:
		return 1
	}
	return 0
}

// Consistency says what a recovery point promises about the data in it.
type Consistency string

// Kinds of recovery point.
const (
	CrashConsistent       Consistency = "crash"
	FilesystemConsistent  Consistency = "filesystem"
	ApplicationConsistent Consistency = "application"
)

// Rank orders kinds of recovery point by how much they promise.
func (c Consistency) Rank() int {
	return slices.Index([]Consistency{CrashConsistent, FilesystemConsistent, ApplicationConsistent}, c)
}

// A RecoveryPoint is an instant of a group that can be recovered.
type RecoveryPoint struct {
	ID    string      `json:"id"`
	Group string      `json:"group"`
	Time  time.Time   `json:"time"` // the instant of the capture
	Kind  Consistency `json:"kind"`
	// Skew is how far the instants of its disks are apart, where the site cannot freeze all at once; 0 for one instant.
	Skew     time.Duration `json:"skew,omitempty"`
	Machines []string      `json:"machines"`
	Bytes    int64         `json:"bytes"`   // stored bytes that this point added to the vault
	Changed  int64         `json:"changed"` // bytes of disk that differ from the point before
	Size     int64         `json:"size"`    // virtual size of all its disks
	Base     bool          `json:"base,omitempty"`
	Position Position      `json:"position"`
	Names    []string      `json:"names,omitempty"` // given by people; a point with a name is not subject to retention
}

// A Policy says how often a group is captured and how long its recovery points are kept.
type Policy struct {
	Name string        `json:"name"`
	RPO  time.Duration `json:"rpo"` // target age of the newest recovery point
	Keep []Tier        `json:"keep"`

	// AppEvery is the interval of application-consistent points, 0 for none; the others are crash consistent.
	AppEvery time.Duration `json:"appEvery,omitempty"`
	// FreezeTimeout bounds how long guests are frozen for such a point; DefaultFreezeTimeout when 0.
	FreezeTimeout time.Duration `json:"freezeTimeout,omitempty"`
}

// DefaultFreezeTimeout is how long a guest may be frozen for an application-consistent point.
const DefaultFreezeTimeout = 5 * time.Second

// A Tier keeps one recovery point (the newest) per Every interval for points younger than For. Every 0 keeps all.
type Tier struct {
	Every time.Duration `json:"every"`
	For   time.Duration `json:"for"`
}

// A Group is a set of machines of one site that are captured at one instant and failed over together.
type Group struct {
	Name     string          `json:"name"`
	Site     string          `json:"site"`           // where its machines run now: the owner
	Home     string          `json:"home,omitempty"` // where they ran when they were first protected; going there is a failback
	Target   string          `json:"target"`         // where they are recovered
	Vault    string          `json:"vault"`
	Policy   string          `json:"policy"`
	Machines []MachinePolicy `json:"machines"` // in start order groups
	Paused   bool            `json:"paused,omitempty"`
}

// MachinePolicy says how one machine of a group is recovered. Machines of a lower Order start, and pass their probe,
// before those of a higher one.
type MachinePolicy struct {
	Name  string `json:"name"`
	Order int    `json:"order"`
	Probe Probe  `json:"probe,omitzero"`
	Hooks Hooks  `json:"hooks,omitzero"`
}

// Hooks are commands in the guest that prepare its applications for an application-consistent point: Before runs before
// its file systems are frozen, After when they were thawed, also when Before failed. Each is a program and its arguments.
type Hooks struct {
	Before []string `json:"before,omitempty"`
	After  []string `json:"after,omitempty"`
}

// A Probe tells whether a recovered machine is healthy. The zero Probe is satisfied by a running machine.
type Probe struct {
	Kind    ProbeKind     `json:"kind,omitempty"`
	Text    string        `json:"text,omitempty"` // serial: text to wait for on the console
	Port    int           `json:"port,omitempty"` // tcp, http: the guest's port
	Path    string        `json:"path,omitempty"` // http
	Timeout time.Duration `json:"timeout,omitempty"`
}

// ProbeKind selects how a probe looks at a machine.
type ProbeKind string

// Probe kinds.
const (
	ProbeNone   ProbeKind = ""
	ProbeSerial ProbeKind = "serial"
	ProbeTCP    ProbeKind = "tcp"
	ProbeHTTP   ProbeKind = "http"
	ProbeAgent  ProbeKind = "agent"
)
