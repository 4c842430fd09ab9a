// Package storagefault breaks the disk under an agent's buffer and a router's queue, and has package storagecheck look at
// what is left: power cuts at every operation of the file system, also while a directory is opened after one, with the
// buffer or queue in it; operations that fail, changes and reads, once or from then on; damaged files.
//
// Its tests run the short forms. With SW4RM_TORTURE=n each campaign does n times as much, with SW4RM_SEED=n it begins with
// another seed. A violation tells its seed and the command that repeats it, and leaves history and image in the directory
// that SW4RM_KEEP names, or else in a temporary one.
package storagefault
