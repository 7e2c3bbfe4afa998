/**
 * Archive formats as streams with limits: tar, gzip, zstd, digests. Pure: bytes in, bytes out.
 *
 * The tar reader is a push parser: `reader.write(chunk)` calls the sink synchronously, entry by
 * entry, because this is the hot path of every pull. All names are bytes. Bad input throws
 * EngineError `data-loss` or `invalid-argument` naming the entry; memory stays bounded by TarLimits.
 */
export type EntryType = "file" | "hardlink" | "symlink" | "char" | "block" | "directory" | "fifo";

export interface TarEntry {
  /** As in the archive: may have "./", "/" or ".." in it; the extractor decides. */
  name: Uint8Array;
  type: EntryType;
  linkName: Uint8Array;
  /** Permission bits with setuid, setgid, sticky (07777). */
  mode: number;
  uid: number;
  gid: number;
  uname: string;
  gname: string;
  /** Bytes of content after holes are put back; 0 for anything but files. */
  size: number;
  /** Nanoseconds since the epoch, clamped to what a file system can keep. */
  mtimeNs: bigint;
  atimeNs?: bigint;
  device: { major: number; minor: number };
  /** From PAX SCHILY.xattr.* (and LIBARCHIVE.xattr.*), raw values. */
  xattrs: ReadonlyMap<string, Uint8Array>;
}

export interface TarSink {
  entry(entry: TarEntry): void;
  /** Content of the current file at `offset`; holes are simply never reported. The view is valid only during the call. */
  data(chunk: Uint8Array, offset: number): void;
  /** The current entry is complete. */
  endEntry(): void;
}

export interface TarLimits {
  /** PAX and GNU header records of one entry, bytes. Default 1 MiB. */
  maxHeaderBytes: number;
  /** Sparse extents of one file. Default 65,536. */
  maxSparseExtents: number;
  /** Entries in the archive. Default 10,000,000. */
  maxEntries: number;
  /** Bytes of file content in all, holes included. Default 1 TiB. */
  maxTotalBytes: number;
}

export type Compression = "none" | "gzip" | "zstd" | "bzip2" | "xz";
