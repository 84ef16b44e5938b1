package site

// Platformer is a site that says what the hardware is that guests find there. Optional.
type Platformer interface {
	Platform() Platform
}

// A Platform is what a guest must be ready for.
type Platform struct {
	Provider string
	Hardware string // for people
	// Storage and Network are the Linux drivers without which a guest does not find its disks and its network.
	Storage, Network []string
	Interfaces       []string // patterns of the names that Linux gives network interfaces
	KeepsMAC         bool     // addresses of network cards are what they were elsewhere
	Console          string   // of Linux, that the site shows
	Agent            string   // program in guests that the site speaks with
	AgentPaths       []string // where it is
	AgentInstall     string   // command that installs it on Debian; its package has the same name elsewhere
	Kernel           bool     // starts kernels that are no part of a disk
	Windows          string   // what Windows needs
}
