# Writes OUTPUT, an assembler note with the SHA-256 of what the program is built of, which source_hash() reads. It is that of what
#   find CMakeLists.txt minichilla.cpp kernels model trainer sweeps scripts/slurm -type f | LC_ALL=C sort | xargs sha256sum
# prints in SOURCE_DIR.
file(GLOB_RECURSE files LIST_DIRECTORIES false RELATIVE ${SOURCE_DIR}
     ${SOURCE_DIR}/kernels/* ${SOURCE_DIR}/model/* ${SOURCE_DIR}/trainer/* ${SOURCE_DIR}/sweeps/* ${SOURCE_DIR}/scripts/slurm/*)
list(APPEND files CMakeLists.txt minichilla.cpp)
list(SORT files)
set(sums "")
foreach(file IN LISTS files)
  file(SHA256 ${SOURCE_DIR}/${file} sum)
  string(APPEND sums "${sum}  ${file}\n")
endforeach()
string(SHA256 hash "${sums}")
file(WRITE ${OUTPUT} "asm(R\"(
  .pushsection .note.minichilla, \"a\", %note
  .balign 4
  .long 11, 64, 1
  .asciz \"minichilla\"
  .balign 4
  .ascii \"${hash}\"
  .popsection
)\");
")
