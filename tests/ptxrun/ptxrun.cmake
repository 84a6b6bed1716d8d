# ptxrun_executable(NAME SOURCES a.cu b.cpp... [LIBRARIES ...] [INCLUDE_DIRECTORIES ...] [DEFINITIONS ...]
#                   [NVCC_FLAGS ...] [ARCH sm_80] [ALLOW_UNKNOWN] [UNOPTIMIZED a ...])
# ptxrun_library(the same)
#
# An executable, or a static library, whose kernels run on the CPU. Include directories and definitions of LIBRARIES
# reach nvcc too. UNOPTIMIZED names sources, without .cu, whose translation takes longer to optimise than to run.
# Do not link CUDA::cudart, cuBLAS or NCCL into it: ptxrun stands in for them.
include_guard(GLOBAL)
find_package(CUDAToolkit REQUIRED)
find_package(Python3 REQUIRED COMPONENTS Interpreter)
find_package(Threads REQUIRED)

set(PTXRUN_DIR ${CMAKE_CURRENT_LIST_DIR})
set(PTXRUN_OPTIMIZE "-O1" CACHE STRING "Optimisation of translated kernels: -O2 runs faster and compiles much slower")

file(GLOB _ptxrun_sources ${PTXRUN_DIR}/runtime/*.cpp)
add_library(ptxrun_runtime STATIC EXCLUDE_FROM_ALL ${_ptxrun_sources})
target_include_directories(ptxrun_runtime SYSTEM PUBLIC ${CUDAToolkit_INCLUDE_DIRS})
target_include_directories(ptxrun_runtime PUBLIC ${PTXRUN_DIR}/include)
target_compile_definitions(ptxrun_runtime PUBLIC PTXRUN)     # so programs can tell
target_compile_features(ptxrun_runtime PUBLIC cxx_std_17)
# Fused and contracted arithmetic only where the PTX says so; registers are read as several types.
set(PTXRUN_COMPILE_OPTIONS -O2 -ffp-contract=off -fno-strict-aliasing)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    list(APPEND PTXRUN_COMPILE_OPTIONS -mavx2 -mfma -mf16c)
endif()
target_compile_options(ptxrun_runtime PRIVATE ${PTXRUN_COMPILE_OPTIONS})
target_link_libraries(ptxrun_runtime PUBLIC Threads::Threads rt)

file(GLOB PTXRUN_TRANSLATOR ${PTXRUN_DIR}/compile_cu.py ${PTXRUN_DIR}/translate/*.py)

function(ptxrun_executable name)
    add_executable(${name})
    ptxrun_sources(${name} ${ARGN})
endfunction()

function(ptxrun_library name)
    add_library(${name} STATIC)
    ptxrun_sources(${name} ${ARGN})
endfunction()

function(ptxrun_sources name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "ALLOW_UNKNOWN" "ARCH" "SOURCES;LIBRARIES;INCLUDE_DIRECTORIES;DEFINITIONS;NVCC_FLAGS;UNOPTIMIZED")
    if(NOT arg_ARCH)
        set(arg_ARCH sm_80)
    endif()
    set(options --arch ${arg_ARCH} --nvcc ${CUDAToolkit_NVCC_EXECUTABLE})
    if(arg_ALLOW_UNKNOWN)
        list(APPEND options --allow-unknown)
    endif()
    # What the target compiles with, its libraries' usage requirements included.
    set(includes "$<TARGET_PROPERTY:${name},INCLUDE_DIRECTORIES>")
    set(definitions "$<TARGET_PROPERTY:${name},COMPILE_DEFINITIONS>")

    foreach(source IN LISTS arg_SOURCES)
        if(NOT source MATCHES "\\.cu$")
            target_sources(${name} PRIVATE ${source})
            continue()
        endif()
        cmake_path(ABSOLUTE_PATH source OUTPUT_VARIABLE input)
        cmake_path(GET source STEM stem)
        set(base ${CMAKE_CURRENT_BINARY_DIR}/${name}.ptxrun/${stem})
        add_custom_command(
            OUTPUT ${base}.o ${base}.ptx.cpp
            COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_CURRENT_BINARY_DIR}/${name}.ptxrun
            COMMAND ${Python3_EXECUTABLE} ${PTXRUN_DIR}/compile_cu.py ${options} --source ${input} --object ${base}.o --cpp ${base}.ptx.cpp
                    --depfile ${base}.d -- -std=c++20 ${arg_NVCC_FLAGS}
                    "$<$<BOOL:${includes}>:-I$<JOIN:${includes},;-I>>" "$<$<BOOL:${definitions}>:-D$<JOIN:${definitions},;-D>>"
            DEPENDS ${input} ${PTXRUN_TRANSLATOR}
            DEPFILE ${base}.d
            COMMENT "ptxrun: ${source} (${arg_ARCH})"
            COMMAND_EXPAND_LISTS VERBATIM)
        target_sources(${name} PRIVATE ${base}.o ${base}.ptx.cpp)
        set_source_files_properties(${base}.o PROPERTIES EXTERNAL_OBJECT TRUE GENERATED TRUE)
        set(optimize ${PTXRUN_OPTIMIZE})
        if(stem IN_LIST arg_UNOPTIMIZED)
            set(optimize -O0)
        endif()
        set_source_files_properties(${base}.ptx.cpp PROPERTIES
            COMPILE_OPTIONS "${PTXRUN_COMPILE_OPTIONS};${optimize};-w" INCLUDE_DIRECTORIES ${PTXRUN_DIR})
    endforeach()
    target_include_directories(${name} PRIVATE ${arg_INCLUDE_DIRECTORIES})
    target_compile_definitions(${name} PRIVATE ${arg_DEFINITIONS})
    set_target_properties(${name} PROPERTIES LINKER_LANGUAGE CXX UNITY_BUILD OFF)
    target_link_libraries(${name} PUBLIC ${arg_LIBRARIES} ptxrun_runtime)
endfunction()
