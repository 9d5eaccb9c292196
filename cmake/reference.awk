# What Doxygen reads in place of a header, line by line: the comment at its head describes the file; what a comment
# encloses in `clang-format off` and `on` is shown as it is written; a comment before @{ describes each name up to @}; and
# what needs no description is left out.
function is_comment(text) { return text ~ /^ *\/\// }
function indent(text) { match(text, /^ */); return RLENGTH }
function count(text, signs) { return gsub(signs, "", text) }

NR == 1 { head = is_comment($0) }
head && !is_comment($0) { head = 0; if ($0 == "#pragma once") $0 = "/// \\file" }
/^#undef / { helper[$2] = 1 }
{ line[NR] = head ? "/" $0 : $0 }

END {
  for (i = 1; i <= NR; ++i) {
    text = line[i]
    if (text ~ /^ *\/\/\/? clang-format (off|on)$/ && is_comment(text ~ /off$/ ? line[i + 1] : line[i - 1]))
      sub(/\/\/.*/, "/// ~~~", text)
    # A macro of this file alone.
    if (match(text, /^#define [A-Za-z_]+/) && substr(text, 9, RLENGTH - 8) in helper) inside = "macro"
    # An ioctl of the table (v4l2/ioctl_table.hpp), which a macro declares and the kernel describes.
    if (match(text, /^VUMEDIA_IOCTL(_OF_NEWER_KERNELS)?\([A-Z_]+/)) {
      name = substr(text, 1, RLENGTH)
      sub(/.*\(/, "", name)
      inside = "ioctl"
    }
    if (inside == "macro") { if (text !~ /\\$/) inside = ""; text = "" }
    else if (inside == "ioctl") {
      if (text ~ /;$/) { inside = ""; text = "/** VIDIOC_" name " of the kernel's V4L2 documentation. */ struct " name " final {};" }
      else text = ""
    }
    # What the compiler writes.
    else if (text ~ /operator(=|==|<=>)\(.*\).* = default;$/) text = ""

    # A group. Doxygen describes all of its names, too, but not where their class is a template that another derives from.
    if (text ~ /^ *\/\/\/@\{$/) { group = 1; column = indent(text); depth = 0; fresh = 1; first = 1 }
    else if (text ~ /^ *\/\/\/@\}$/) { group = 0; described = "" }
    else if (!group) {
      if (text ~ /^ *\/\/\/ /) { said = text; sub(/^ *\/\/\/ /, "", said); gsub(/&/, "\\\\&", said); described = described " " said }
      else described = ""
    }
    else if (text !~ /^ *$/ && !is_comment(text)) {
      if (fresh && !first && indent(text) == column) sub(/^ */, "&/**" described " */ ", text)
      first = 0
      depth += count(text, "[({]") - count(text, "[)}]")
      fresh = depth == 0 && text ~ /[;}]( *\/\/.*)?$/
    }
    print text
  }
}
